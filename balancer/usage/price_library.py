"""Reads the price library (genai-prices, with its bundled data) into price tables.

Its own `calc_price` takes 100 µs a request and keeps every name that it was ever asked for; a table takes 1 µs. Importing this
module imports the library's data, which takes a quarter of a second.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal

from genai_prices import Usage as LibraryUsage
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, StartDateConstraint, TieredPrices

from balancer.outcome import Usage
from balancer.usage.rates import FEMTO_PER_MTOK, NANO, Rates, RateTable

__all__ = ["LibraryTariff", "is_sold", "table_of", "tariff_of"]

_COMPANY = {"anthropic": "anthropic", "gemini": "google"}
"""Whose prices hold for a wire format wherever it is spoken. OpenAI's is spoken by everybody: there only the address tells."""
_FEMTO_PER_KREQUESTS = 10**12
_HOUR = 2
"""What is written to Anthropic's cache for an hour costs twice the input price (Anthropic's documentation, "Prompt caching"); the
library has the price of five minutes alone."""


@dataclass(frozen=True, slots=True)
class LibraryTariff:
    """A price that no table can say, such as one that depends on the time of day: the library is asked for each request."""

    provider: Provider
    model: ModelInfo

    def nano_cost(self, usage: Usage) -> int | None:
        """Return the cost of one request now in nanodollars; None if it can't be known."""
        if not (usage.prompt or usage.completion):
            return None
        counts = LibraryUsage(
            input_tokens=usage.prompt,
            output_tokens=usage.completion,
            cache_read_tokens=usage.cached,
            cache_write_tokens=usage.cache_write,
            output_reasoning_tokens=usage.reasoning,
        )
        try:
            price = self.model.calc_price(counts, self.provider)
        except ValueError:  # more cached than there is
            return None
        return int((price.total_price * NANO).to_integral_value(ROUND_HALF_UP))


def tariff_of(provider: str, url: str, model: str, day: date) -> RateTable | LibraryTariff | None:
    """Return what `model` costs on `day` (UTC) at an endpoint that speaks `provider`'s wire format at `url`; None if unknown."""
    snapshot = get_snapshot()
    seller = _seller(snapshot, provider, url)
    # Not by the snapshot's own search, which never forgets a name.
    found = seller.find_model(model, all_providers=snapshot.providers) if seller else None
    if seller is None or found is None:
        return None
    prices = found.get_prices(datetime.combine(day, time(), UTC))
    if prices.input_mtok is None or prices.output_mtok is None:
        return None  # sold by the hour or the page; what tokens would cost there is not 0, but unknown
    if _changes_within_a_day(found):
        return LibraryTariff(seller, found)
    return table_of(prices) or LibraryTariff(seller, found)


def is_sold(provider: str, url: str) -> bool:
    """Whether a service that the library knows answers at `url`."""
    return _seller(get_snapshot(), provider, url) is not None


def table_of(prices: ModelPrice) -> RateTable | None:
    """Return the library's prices as a table; None if they are finer than its rates, or of a kind that is not known here."""
    bounds: set[int] = set()
    for price in vars(prices).values():
        if isinstance(price, TieredPrices):
            bounds.update(tier.start for tier in price.tiers)
    try:
        return RateTable(tuple((above, _rates(prices, above)) for above in (*sorted(bounds, reverse=True), -1)))
    except ValueError:
        return None


def _seller(snapshot: DataSnapshot, provider: str, url: str) -> Provider | None:
    try:
        return snapshot.find_provider(None, None, url)
    except LookupError:
        company = _COMPANY.get(provider)
        return snapshot.find_provider(None, company, None) if company else None


def _changes_within_a_day(model: ModelInfo) -> bool:
    if isinstance(model.prices, ModelPrice):
        return False
    return any(not isinstance(price.constraint, StartDateConstraint | None) for price in model.prices)


def _rates(prices: ModelPrice, above: int) -> Rates:
    def rate(name: str, otherwise: int, scale: int = FEMTO_PER_MTOK) -> int:
        price = getattr(prices, name)
        return otherwise if price is None else _whole(_at(price, above), scale)

    into, out = rate("input_mtok", 0), rate("output_mtok", 0)
    written = rate("cache_write_mtok", into)
    return Rates(
        input=into,
        output=out,
        cached=rate("cache_read_mtok", into),
        cache_write=written,
        reasoning=rate("output_reasoning_mtok", out),
        request=rate("requests_kcount", 0, _FEMTO_PER_KREQUESTS),
        cache_write_hour=_HOUR * into if written > into else None,
    )


def _at(price: object, above: int) -> Decimal:
    """Return the price of requests with more than `above` prompt tokens, up to the next bound."""
    if isinstance(price, TieredPrices):
        return next((tier.price for tier in reversed(price.tiers) if tier.start <= above), price.base)
    if isinstance(price, Decimal):
        return price
    raise ValueError(f"a price of a kind that is not known: {type(price).__name__}")


def _whole(price: Decimal, scale: int) -> int:
    scaled = price * scale
    if not scaled.is_finite() or scaled != int(scaled):
        raise ValueError(f"finer than a femtodollar: {price}")
    return int(scaled)
