"""Computes the cost of a request. Beyond some size a whole request costs more per token."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.usage.rates import NANO, RateTable, flat_table

__all__ = ["cost_of", "has_no_price", "nano_cost_of", "saving_of"]

DAY = 86400
"""Seconds; prices change at most once in it, at midnight UTC, but for those that depend on the time of day."""
TARIFFS_KEPT = 1024
"""Models whose prices are kept at hand. Their names come from users, so there is no end of them."""
_FLEX = "flex"
_BATCH = "batch"
_TIERS = (_FLEX, _BATCH, "priority")
"""Tiers with prices of their own. Flex processing (platform.openai.com/docs/guides/flex-processing) and batches cost half, those
of OpenAI, Azure, Anthropic, Gemini, Mistral and Groq alike."""
LONGEST_NAME = 200
"""Characters; a longer name is no model's, and is not looked for."""
IN_THE_LIBRARY = frozenset(
    {"openai", "anthropic", "gemini", "azure", "bedrock", "deepseek", "groq", "mistral", "openrouter", "together"}
)
"""Wire formats of which some speaker is in the price library. A model of one's own (vLLM, LaaS) has one's own price."""


class Tariff(Protocol):
    """What one model costs at one endpoint."""

    def nano_cost(self, usage: Usage) -> int | None: ...


def cost_of(usage: Usage, endpoint: Endpoint, model: str, tier: str = "") -> float | None:
    """Return the cost of one request to `endpoint` for `model` (the upstream name) in USD, None where the price is not known.

    `tier` is the service tier that the answer names, or `batch`: `flex` and `batch` cost half, `priority` more by a factor that
    is not known here. An endpoint's own price is that of its price class if that is `flex`, which costs half of the one for
    standard processing. All others cost it.

    It is a whole number of nanodollars: `round(cost * 1e9)` gives that back, for sums without an error.
    """
    nano = nano_cost_of(usage, endpoint, model, tier)
    return None if nano is None else nano / NANO


def nano_cost_of(usage: Usage, endpoint: Endpoint, model: str, tier: str = "") -> int | None:
    """Return the same in nanodollars: at the endpoint's own price, else at the price library's."""
    price = endpoint.price
    tariff: Tariff | None
    if price is not None:
        tariff = _own_table(price.input, price.output, price.cached)
    elif endpoint.provider in IN_THE_LIBRARY:
        tariff = _library_tariff(endpoint.provider, endpoint.url, model, int(time.time()) // DAY)
    else:
        return None
    nano = None if tariff is None else tariff.nano_cost(usage)
    if nano is None or tier not in _TIERS:
        return nano
    if tier == _BATCH:
        return (nano + 1) // 2
    if tier == _FLEX:
        return nano if price is not None and endpoint.price_class == _FLEX else (nano + 1) // 2
    return nano if price is not None else None


def has_no_price(endpoint: Endpoint) -> bool:
    """Whether nothing that an endpoint answers has a price: a server of one's own, for which none is configured."""
    if endpoint.price is not None:
        return False
    if endpoint.provider not in IN_THE_LIBRARY:
        return True
    from balancer.usage.price_library import is_sold

    return not is_sold(endpoint.provider, _plain(endpoint.url))


def saving_of(usage: Usage, endpoint: Endpoint, model: str, tier: str = "") -> float:
    """Return what a request cost less than without the endpoint's cache, in USD: negative where writing to the cache cost more
    than reading saved, 0 where the price is not known."""
    if not (usage.cached or usage.cache_write):
        return 0.0
    paid = nano_cost_of(usage, endpoint, model, tier)
    without = nano_cost_of(replace(usage, cached=0, cache_write=0, cache_write_hour=0), endpoint, model, tier)
    return 0.0 if paid is None or without is None else (without - paid) / NANO


@lru_cache(maxsize=TARIFFS_KEPT)
def _own_table(input_price: float, output_price: float, cached_price: float | None) -> RateTable:
    return flat_table(input_price, output_price, cached_price)


@lru_cache(maxsize=TARIFFS_KEPT)
def _library_tariff(provider: str, url: str, model: str, day: int) -> Tariff | None:
    if not 0 < len(model) <= LONGEST_NAME:
        return None
    # Here, as it takes a quarter of a second, and configurations with prices of their own don't need it.
    from balancer.usage.price_library import tariff_of

    return tariff_of(provider, _plain(url), model, datetime.fromtimestamp(day * DAY, UTC).date())


def _plain(url: str) -> str:
    """Return an address as the library's patterns know it: without user, port and query, in lower case."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    except ValueError:  # half an IPv6 address
        return ""
