"""Price tables in integers, so that sums of money are exact."""

from dataclasses import dataclass

from balancer.outcome import Usage

__all__ = ["FEMTO_PER_MTOK", "FEMTO_PER_NANO", "NANO", "RateTable", "Rates", "flat_table"]

NANO = 10**9
"""Nanodollars in a dollar: costs are added up in them."""
FEMTO_PER_NANO = 10**6
FEMTO_PER_MTOK = 10**9
"""Femtodollars (10⁻¹⁵ USD) a token, for a price of one dollar per million tokens."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Femtodollars for one token of each kind, and for the `request` itself.

    `cached` and `cache_write` (`cache_write_hour`, if it is kept for an hour) are paid instead of `input`, `reasoning` instead of
    `output`; where a list has no price of its own for them, they are the same.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    request: int = 0
    cache_write_hour: int | None = None

    def femto_cost(self, usage: Usage) -> int | None:
        """Return what `usage` costs; None if the price depends on what is cached (or reasoned), and more is reported than there
        is."""
        cached = usage.cached * (self.cached - self.input) + usage.cache_write * (self.cache_write - self.input)
        if self.cache_write_hour is not None:
            cached += usage.cache_write_hour * (self.cache_write_hour - self.cache_write)
        reasoning = usage.reasoning * (self.reasoning - self.output)
        if (cached and usage.cached + usage.cache_write > usage.prompt) or (reasoning and usage.reasoning > usage.completion):
            return None
        return self.request + usage.prompt * self.input + usage.completion * self.output + cached + reasoning


_FREE = Rates(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class RateTable:
    """Rates by the size of a request: numbers of prompt tokens, each with the rates above it, largest first; the last is -1.

    The rates of a bracket are for the whole request, not only for the tokens above its bound.
    """

    brackets: tuple[tuple[int, Rates], ...]

    def nano_cost(self, usage: Usage) -> int | None:
        """Return the cost of one request in nanodollars; None if it can't be known, as of an answer that counts no tokens."""
        prompt = usage.prompt
        rates = next(rates for above, rates in self.brackets if prompt > above)
        if not (prompt or usage.completion):
            return 0 if rates == _FREE else None
        femto = rates.femto_cost(usage)
        return None if femto is None else (femto + FEMTO_PER_NANO // 2) // FEMTO_PER_NANO


def flat_table(input_price: float, output_price: float, cached_price: float | None = None) -> RateTable:
    """Return the table of prices in USD per million tokens, exact to their ninth decimal. Cached input costs what other input
    does unless it has a price."""
    into, out = round(input_price * FEMTO_PER_MTOK), round(output_price * FEMTO_PER_MTOK)
    cached = into if cached_price is None else round(cached_price * FEMTO_PER_MTOK)
    return RateTable(((-1, Rates(into, out, cached, into, out)),))
