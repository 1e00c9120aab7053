"""What requests cost: whose price holds, and that our sums are the price library's to the nanodollar."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal

import pytest
from genai_prices import Usage as LibraryUsage
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, StartDateConstraint, Tier, TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from balancer.endpoint import Endpoint, Price
from balancer.outcome import NO_USAGE, Usage
from balancer.usage import pricing
from balancer.usage.price_library import LibraryTariff, table_of, tariff_of
from balancer.usage.pricing import cost_of, nano_cost_of, saving_of
from balancer.usage.rates import NANO, RateTable

DAY = date(2026, 3, 1)
MIDNIGHT = datetime.combine(DAY, time(), UTC)
SOME = Usage(1000, 100)
OPENAI = Endpoint("https://api.openai.com/v1")
OFFERS = [
    (provider, model, prices)
    for provider in get_snapshot().providers
    for model in provider.models
    if (prices := model.get_prices(MIDNIGHT)).input_mtok is not None and prices.output_mtok is not None
]
"""Every model in the library that is sold by the token, with what it cost on one day."""
IN_TABLES = [offer for offer in OFFERS if table_of(offer[2])]
"""Those whose prices a table can say; the others, finer than a femtodollar, are asked of the library for each request."""


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    prompt = draw(st.one_of(st.integers(0, 3_000_000), st.sampled_from([127_999, 128_000, 200_000, 200_001, 272_000, 272_001])))
    completion = draw(st.integers(1, 500_000))
    cached = draw(st.integers(0, prompt))
    return Usage(prompt, completion, cached, draw(st.integers(0, completion)), draw(st.integers(0, prompt - cached)))


def for_the_library(usage: Usage) -> LibraryUsage:
    return LibraryUsage(
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cache_read_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_reasoning_tokens=usage.reasoning,
    )


def nano(total: Decimal) -> int:
    return int((total * NANO).to_integral_value(ROUND_HALF_UP))


@given(st.integers(0, len(IN_TABLES) - 1), usages())
def test_a_table_costs_what_the_library_says(offer: int, usage: Usage) -> None:
    provider, model, prices = IN_TABLES[offer]
    table = table_of(prices)
    assert table is not None
    said = model.calc_price(for_the_library(usage), provider, genai_request_timestamp=MIDNIGHT)
    assert table.nano_cost(usage) == nano(said.total_price)


def test_the_comparison_is_about_many_models_of_every_kind() -> None:
    tables = [table_of(prices) for _, _, prices in OFFERS]
    assert len(tables) > 2000
    assert sum(len(table.brackets) > 1 for table in tables if table) > 100
    assert sum(any(rates.request for _, rates in table.brackets) for table in tables if table) > 1


def test_what_is_written_to_the_cache_for_an_hour_costs_twice_the_input() -> None:
    table = table_of(ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(15), cache_write_mtok=Decimal("3.75")))
    assert table is not None
    usage = Usage(1000, 0, cache_write=1000, cache_write_hour=600)
    assert table.nano_cost(usage) == 400 * 3750 + 600 * 6000


def test_beyond_a_bound_the_whole_request_costs_more() -> None:
    prices = ModelPrice(
        input_mtok=TieredPrices(Decimal(1), [Tier(100, Decimal(5)), Tier(200, Decimal("7.5"))]), output_mtok=Decimal(2)
    )
    table = table_of(prices)
    assert table is not None
    assert [table.nano_cost(Usage(prompt, 10)) for prompt in (100, 101, 200, 201)] == [
        100 * 1000 + 10 * 2000,  # a bound itself is below it
        101 * 5000 + 10 * 2000,
        200 * 5000 + 10 * 2000,
        201 * 7500 + 10 * 2000,
    ]


def test_halves_of_a_nanodollar_are_rounded_up() -> None:
    table = table_of(ModelPrice(input_mtok=Decimal("0.0375"), output_mtok=Decimal(0)))
    assert table is not None
    assert [table.nano_cost(Usage(tokens, 0)) for tokens in (1, 2, 3)] == [38, 75, 113]


@pytest.mark.parametrize(
    "prices",
    [
        ModelPrice(input_mtok=Decimal("0.0000000001"), output_mtok=Decimal(1)),  # finer than a femtodollar
        ModelPrice(input_mtok=Decimal("Infinity"), output_mtok=Decimal(1)),  # no number
        ModelPrice(input_mtok="cheap", output_mtok=Decimal(1)),  # type: ignore[arg-type]  # of a kind to come
    ],
)
def test_prices_that_no_table_can_say_make_none(prices: ModelPrice) -> None:
    assert table_of(prices) is None


@pytest.mark.parametrize(
    ("endpoint", "model", "dollars"),
    [
        # One's own price, whatever the library knows.
        (replace(OPENAI, price=Price(0.5, 4.0)), "gpt-5.4-mini", 0.0009),
        (replace(OPENAI, price=Price(0.0, 0.0)), "gpt-5.4-mini", 0.0),
        (Endpoint("http://gpu1:8000/v1", provider="vllm", price=Price(0.01, 0.02)), "llama", 0.000012),
        (OPENAI, "gpt-5.4-mini", 0.0012),
        # Written otherwise, the address is the same.
        (Endpoint("https://key:secret@API.OpenAI.com:443/v1/"), "gpt-5.4-mini", 0.0012),
        (Endpoint("https://api.anthropic.com/v1", provider="anthropic"), "claude-sonnet-5-5", 0.003),
        # These two companies' formats have one price list, wherever a proxy stands.
        (Endpoint("http://proxy:1/v1", provider="anthropic"), "claude-sonnet-5-5", 0.003),
        (Endpoint("https://generativelanguage.googleapis.com/v1beta", provider="gemini"), "gemini-3.8-flash", 0.001125),
        # OpenAI's format at another seller, which the library knows by its address.
        (Endpoint("https://api.groq.com/openai/v1"), "gpt-5.4-mini", None),
        (Endpoint("https://me.openai.azure.com/openai/v1"), "gpt-5.4-mini", 0.0012),
        # Whoever else speaks OpenAI's format may charge anything.
        (Endpoint("http://127.0.0.1:8000/v1"), "gpt-5.4-mini", None),
        (Endpoint("https://openai.example.com/v1"), "gpt-5.4-mini", None),
        (Endpoint("http://[::1/v1"), "gpt-5.4-mini", None),
        # Models of one's own are not looked for, even under a name that the library has.
        (Endpoint("https://api.openai.com/v1", provider="vllm"), "gpt-5.4-mini", None),
        (Endpoint("https://api.anthropic.com/v1", provider="laas"), "claude-sonnet-5-5", None),
        (Endpoint("https://api.openai.com/v1", provider="of-ones-own"), "gpt-5.4-mini", None),
        # No model, none that is known, and one that no library would have.
        (OPENAI, "", None),
        (OPENAI, "gpt-of-the-far-future", None),
        (OPENAI, "gpt-5.4-mini" + "x" * 200, None),
        # Sold by the hour: what its tokens cost is not known, and not 0.
        (OPENAI, "whisper-1", None),
    ],
)
def test_whose_price_holds(endpoint: Endpoint, model: str, dollars: float | None) -> None:
    assert cost_of(SOME, endpoint, model) == dollars


def test_an_answer_without_a_count_of_tokens_has_an_unknown_cost() -> None:
    assert cost_of(NO_USAGE, OPENAI, "gpt-5.4-mini") is None
    assert cost_of(NO_USAGE, replace(OPENAI, price=Price(1.0, 1.0)), "m") is None
    assert cost_of(NO_USAGE, replace(OPENAI, price=Price(0.0, 0.0)), "m") == 0.0


def test_more_cached_than_there_is_has_no_price_where_it_matters() -> None:
    assert cost_of(Usage(10, 1, cached=8, cache_write=3), OPENAI, "gpt-5.4-mini") is None
    assert cost_of(Usage(10, 1, cached=8, cache_write=3), replace(OPENAI, price=Price(1.0, 1.0)), "m") == 11e-6


def test_what_a_cache_saved_is_the_difference_that_it_made() -> None:
    own = replace(OPENAI, price=Price(1.0, 2.0, cached=0.25))
    assert cost_of(Usage(1000, 10, cached=800), own, "m") == pytest.approx((200 + 800 * 0.25 + 20) / 1e6)
    assert saving_of(Usage(1000, 10, cached=800), own, "m") == pytest.approx(800 * 0.75 / 1e6)
    assert saving_of(Usage(1000, 10), own, "m") == 0.0
    assert saving_of(Usage(1000, 10, cached=800), replace(OPENAI, price=Price(1.0, 2.0)), "m") == 0.0
    assert saving_of(Usage(1000, 10, cached=800), Endpoint("http://gpu1:8000/v1"), "m") == 0.0


def test_writing_to_a_cache_may_cost_more_than_it_saved() -> None:
    anthropic = Endpoint("https://api.anthropic.com/v1", provider="anthropic")
    assert saving_of(Usage(10_000, 10, cache_write=9_000), anthropic, "claude-opus-4-5") < 0.0
    assert saving_of(Usage(10_000, 10, cached=9_000), anthropic, "claude-opus-4-5") > 0.0


def test_a_cost_in_dollars_gives_the_nanodollars_back() -> None:
    usage = Usage(123_457, 98_765, cached=1_003)
    exact = nano_cost_of(usage, OPENAI, "gpt-5.4-mini")
    shown = cost_of(usage, OPENAI, "gpt-5.4-mini")
    assert exact is not None and shown is not None
    assert round(shown * 1e9) == exact


def test_a_price_that_depends_on_the_hour_is_asked_of_the_library() -> None:
    tariff = tariff_of("openai", "https://api.deepseek.com/v1", "deepseek-chat", DAY)
    assert isinstance(tariff, LibraryTariff)

    def now() -> int:
        return nano(tariff.model.calc_price(for_the_library(SOME), tariff.provider).total_price)

    before, cost = now(), tariff.nano_cost(SOME)
    assert cost in (before, now())
    assert tariff.nano_cost(NO_USAGE) is None
    assert tariff.nano_cost(Usage(10, 1, cached=20)) is None


def test_a_price_holds_from_its_day_on() -> None:
    openai = next(provider for provider in get_snapshot().providers if provider.id == "openai")
    model, start = next(
        (model, price.constraint.start_date)
        for model in openai.models
        if isinstance(model.prices, list) and openai.find_model(model.id) is model
        for price in model.prices[1:]
        if isinstance(price.constraint, StartDateConstraint) and price.prices != model.prices[0].prices
    )
    before = tariff_of("openai", "https://api.openai.com", model.id, date.fromordinal(start.toordinal() - 1))
    after = tariff_of("openai", "https://api.openai.com", model.id, start)
    assert isinstance(before, RateTable) and isinstance(after, RateTable)
    assert before != after


def test_names_that_users_make_up_are_not_kept_for_ever() -> None:
    snapshot = get_snapshot()
    kept = [len(cache) for cache in (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)]
    pricing._library_tariff.cache_clear()
    for number in range(pricing.TARIFFS_KEPT + 10):
        cost_of(SOME, OPENAI, f"made-up-{number}")
    assert pricing._library_tariff.cache_info().currsize == pricing.TARIFFS_KEPT
    now = [len(cache) for cache in (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)]
    assert sum(now) - sum(kept) <= 1


@pytest.mark.parametrize(("tier", "share"), [("", 1.0), ("default", 1.0), ("on_demand", 1.0), ("flex", 0.5), ("priority", None)])
def test_a_service_tier_has_its_own_price(tier: str, share: float | None) -> None:
    usage = Usage(1_000_000, 100_000, cached=200_000)
    standard = cost_of(usage, OPENAI, "gpt-5.4-mini")
    assert standard is not None
    expected = None if share is None else pytest.approx(share * standard)
    assert cost_of(usage, OPENAI, "gpt-5.4-mini", tier) == expected
    if share is not None:
        assert saving_of(usage, OPENAI, "gpt-5.4-mini", tier) == pytest.approx(share * saving_of(usage, OPENAI, "gpt-5.4-mini"))


def test_an_endpoints_own_price_is_that_of_its_price_class() -> None:
    own = replace(OPENAI, price=Price(1.0, 2.0))
    standard = cost_of(SOME, own, "m")
    assert standard is not None
    assert cost_of(SOME, own, "m", "priority") == cost_of(SOME, own, "m", "default") == standard
    assert cost_of(SOME, own, "m", "flex") == pytest.approx(standard / 2)
    assert cost_of(SOME, own, "m", "batch") == pytest.approx(standard / 2)
    assert cost_of(SOME, replace(own, price_class="flex"), "m", "flex") == standard
