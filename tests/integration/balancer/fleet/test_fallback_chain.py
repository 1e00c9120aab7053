"""Tiers and chains of models: what fails is left for the next best at once, and returned to when it is well again."""

import time
from collections.abc import Iterator

import pytest

from balancer import LoadBalancer
from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind
from balancer.routing.model_routes import ModelRoutes
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer, Reply, Script
from tests.integration.balancer.conftest import Make, Servers
from tests.waiting import until_blocking

HI = [{"role": "user", "content": "Hi"}]
FAILING = [FailureKind.RATE_LIMIT, FailureKind.OVERLOADED, FailureKind.SERVER]


@pytest.fixture
def three() -> Iterator[tuple[ProviderServer, ProviderServer, ProviderServer]]:
    """Three servers, one for each tier."""
    with (
        ProviderServer(FAKE_PROVIDERS["openai"]) as a,
        ProviderServer(FAKE_PROVIDERS["openai"]) as b,
        ProviderServer(FAKE_PROVIDERS["openai"]) as c,
    ):
        yield a, b, c


def over(servers: tuple[ProviderServer, ...], balance: Make, **options: object) -> LoadBalancer:
    return balance(*(s.endpoint(name=f"tier {n}", priority=n, models={"m": "m"}) for n, s in enumerate(servers)), **options)


@pytest.mark.parametrize("kind", FAILING)
def test_a_failing_tier_is_left_at_once(three: tuple[ProviderServer, ...], balance: Make, kind: FailureKind) -> None:
    first, _, third = three
    first.answer = first.fake.fail(kind)
    balancer = over(three, balance)
    began = time.monotonic()
    result = balancer.chat(HI, model="m")
    assert time.monotonic() - began < 1.0
    assert result.success and result.endpoint == "tier 1"
    assert [attempt.endpoint for attempt in result.attempts] == ["tier 0", "tier 1"]
    assert not third.received


def test_a_tier_that_hangs_is_left_after_the_timeout(three: tuple[ProviderServer, ...], balance: Make, servers: Servers) -> None:
    hanging = servers.start(latency=30.0)
    balancer = balance(hanging, three[1].endpoint(name="tier 1", priority=1), timeout=0.2)
    result = balancer.chat(HI, model="m")
    assert result.success and result.endpoint == "tier 1"


def test_a_tier_is_returned_to_when_it_is_well(three: tuple[ProviderServer, ...], balance: Make) -> None:
    first, *_ = three
    first.answer = Reply(429, b"{}", {"retry-after": "1"})
    balancer = over(three, balance)
    assert balancer.chat(HI, model="m").endpoint == "tier 1"
    first.answer = Script()
    deadline = time.monotonic() + 5
    while balancer.chat(HI, model="m").endpoint != "tier 0":
        assert time.monotonic() < deadline


def test_when_all_tiers_fail_the_error_lists_each_attempt(three: tuple[ProviderServer, ...], balance: Make) -> None:
    for server in three:
        server.answer = server.fake.fail(FailureKind.SERVER)
    result = over(three, balance).chat(HI, model="m")
    assert not result.success and result.error is not None
    assert all(f"tier {n}" in result.error for n in range(3))
    assert len(result.attempts) == 3


def test_a_chain_goes_on_with_its_next_model(three: tuple[ProviderServer, ...], balance: Make) -> None:
    first, second, _ = three
    first.answer = first.fake.fail(FailureKind.OVERLOADED)
    routes = ModelRoutes({"smart": ("best", "good")})
    endpoints = [first.endpoint(name="one", models={"best": "best-1"}), second.endpoint(name="two", models={"good": "good-1"})]
    balancer = balance(*endpoints, routes=routes)
    for model in ("smart", "best,good", ["best", "good"]):
        result = balancer.chat(HI, model=model)
        assert result.success and result.endpoint == "two"
    assert {received.model for received in second.received} == {"good-1"}
    assert {received.model for received in first.received} <= {"best-1"}


def test_the_next_model_may_be_at_the_same_endpoint(balance: Make) -> None:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        too_long = server.fake.fail(FailureKind.CONTEXT_TOO_LONG)
        assert too_long is not None
        server.answer = lambda received: Script() if received.model == "roomy" else too_long
        balancer = balance(server.endpoint(models={"small": "small", "roomy": "roomy"}))
        assert balancer.chat(HI, model="small,roomy").success
        alone = balancer.chat(HI, model="small")
    assert alone.failure is not None and alone.failure.kind is FailureKind.CONTEXT_TOO_LONG
    assert len(alone.attempts) == 1, "it would be too long again"


def test_an_earlier_model_comes_before_a_lower_tier(three: tuple[ProviderServer, ...], balance: Make) -> None:
    first, second, _ = three
    endpoints = [
        first.endpoint(name="cheap", priority=0, models={"good": "g"}),
        second.endpoint(name="dear", priority=1, models={"best": "b"}),
    ]
    assert balance(*endpoints).chat(HI, model="best,good").endpoint == "dear"


def test_a_stream_falls_back_along_the_chain_too(three: tuple[ProviderServer, ...], balance: Make) -> None:
    first, *_ = three
    first.answer = first.fake.fail(FailureKind.OVERLOADED)
    chunks = list(over(three, balance).chat(HI, model="m", stream=True))
    assert "".join(chunk.content for chunk in chunks) == Script().text
    assert {chunk.endpoint for chunk in chunks} == {"tier 1"}


def test_what_one_format_cannot_say_another_one_is_asked_for(balance: Make) -> None:
    """A request that the first tier's wire format has no word for goes to the next tier without being sent to the first."""
    with ProviderServer(FAKE_PROVIDERS["laas"]) as narrow, ProviderServer(FAKE_PROVIDERS["openai"]) as wide:
        balancer = balance(
            narrow.endpoint(name="narrow", models={"m": "m"}), wide.endpoint(name="wide", priority=1, models={"m": "m"})
        )
        result = balancer.chat(HI, model="m", stop=["END"])
        assert result.success and result.endpoint == "wide"
        assert not narrow.bodies


def test_refusals_use_no_attempts_up_and_are_not_repeated(balance: Make) -> None:
    """Three endpoints that have no word for a field leave all three attempts to the one that does."""
    with ProviderServer(FAKE_PROVIDERS["laas"]) as narrow, ProviderServer(FAKE_PROVIDERS["openai"]) as wide:
        refusing = [narrow.endpoint(name=f"narrow {n}", models={"m": "m"}) for n in range(3)]
        balancer = balance(*refusing, wide.endpoint(name="wide", priority=1, models={"m": "m"}), retry_count=2)
        assert balancer.chat(HI, model="m", stop=["END"]).endpoint == "wide"
        wide.answer = wide.fake.fail(FailureKind.OVERLOADED)
        result = balancer.chat(HI, model="m", stop=["END"])
    assert [attempt.endpoint for attempt in result.attempts].count("wide") == 3
    assert len(result.attempts) == 6, "what was refused once is not asked again"


def test_a_refused_key_is_shown_once(balance: Make) -> None:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        server.answer = server.fake.fail(FailureKind.AUTHENTICATION)
        result = balance(server.endpoint(), retry_count=2).chat(HI)
    assert result.failure is not None and result.failure.kind is FailureKind.AUTHENTICATION
    assert len(result.attempts) == 1


def test_a_chain_reaches_its_next_model_however_many_replicas_of_the_first_fail(balance: Make, servers: Servers) -> None:
    replicas = [Endpoint(servers.start(fault="503").url, name=f"replica {n}", models={"m1": "m1"}) for n in range(4)]
    good = Endpoint(servers.start().url, name="good", models={"m2": "m2"})
    balancer = balance(*replicas, good, routes=ModelRoutes({"smart": ("m1", "m2")}))
    for _ in range(5):
        result = balancer.chat(HI, model="smart")
        assert result.success and result.endpoint == "good"
        assert len(result.attempts) <= 3


def test_a_model_that_an_endpoint_has_not_is_asked_for_elsewhere_and_shown(balance: Make, servers: Servers) -> None:
    retired = Endpoint(servers.start(models=("new",)).url, name="retired", models={"m1": "m1", "new": "new"})
    second_tier = Endpoint(servers.start(models=("m1",)).url, name="second", priority=1, models={"m1": "m1"})
    balancer = balance(retired, second_tier)
    result = balancer.chat(HI, model="m1")
    assert result.success and result.endpoint == "second"
    assert [attempt.endpoint for attempt in result.attempts] == ["retired", "second"]

    def is_shown() -> bool:  # what is in Redis is read a moment later
        known = next(each for each in balancer.get_stats()["endpoints"] if each["name"] == "retired")
        error = "model_not_found: a model that is configured or was asked for is not served there"
        return str(known["last_error"]).startswith(error)

    until_blocking(is_shown)
    assert balancer.chat(HI, model="new").endpoint == "retired", "it is no failure of the endpoint"


def test_a_chain_goes_on_behind_a_model_that_is_not_there(balance: Make, servers: Servers) -> None:
    only = Endpoint(servers.start(models=("m2",)).url, name="only", models={"m1": "m1", "m2": "m2"})
    result = balance(only, routes=ModelRoutes({"best": ("m1", "m2")})).chat(HI, model="best")
    assert result.success and result.model == "m2"


def test_a_model_is_not_found_when_all_have_said_so(balance: Make, servers: Servers) -> None:
    without = [Endpoint(servers.start(models=("other",)).url, name=name, models={"m1": "m1"}) for name in ("a", "b", "c", "d")]
    result = balance(*without, retry_count=1).chat(HI, model="m1")
    assert result.failure is not None and result.failure.kind is FailureKind.MODEL_NOT_FOUND
    assert sorted(attempt.endpoint for attempt in result.attempts) == ["a", "b", "c", "d"]
