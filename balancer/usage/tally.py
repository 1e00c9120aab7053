"""Counters of usage for one group: requests, tokens, cost, latency; and their storage format.

Stored, a tally is its numbers by comma, in the order of `COUNTS` and then of the latency's buckets, so that Lua can add two of
them number by number. New counts may only be added behind the last bucket.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from balancer.outcome import NO_USAGE, Outcome
from balancer.usage.rates import NANO

__all__ = ["COUNTS", "LATENCY_BOUNDS", "Row", "Tally", "quantile"]

LATENCY_BOUNDS = (
    0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 70.0,
    100.0, 150.0, 200.0, 300.0, 600.0,
)  # fmt: skip
"""Upper bounds (seconds, inclusive) of the buckets of latency; one more bucket has what took longer."""
COUNTS = ("requests", "errors", "input", "output", "cached", "reasoning", "nano_cost", "priced", "unpriced", "latency_us")
LATER_COUNTS = ("guessed",)
"""Those that are stored behind the buckets; accounts of before do not have them."""
SEPARATOR = "\x1f"
"""Between the parts of a row's name. ASCII has it for this; it is taken out of the parts."""


class Row(NamedTuple):
    """The group of a request: the wire format, the upstream model, the endpoint's name, the id of the owner's key (empty without
    one), where it came from (`jobs`, else empty), and the tier that it was processed in (`flex`, `batch`, `priority`; empty for
    the usual one). Accounts of before have neither of the last two."""

    provider: str
    model: str
    endpoint: str
    key: str
    source: str = ""
    tier: str = ""

    def packed(self) -> bytes:
        """Return the name that it is stored under. What is no text (half a surrogate pair) becomes a question mark."""
        return SEPARATOR.join(part.replace(SEPARATOR, " ") for part in self).encode("utf-8", "replace")

    @classmethod
    def unpacked(cls, name: bytes) -> "Row":
        """Read the name that it is stored under."""
        return cls(*name.decode("utf-8", "replace").split(SEPARATOR))


def _no_buckets() -> list[int]:
    return [0] * (len(LATENCY_BOUNDS) + 1)


@dataclass(slots=True)
class Tally:
    """The account of some requests, each of them an attempt at one endpoint.

    Tokens are as the endpoints counted them; `cached` ones are part of `input`, `reasoning` ones of `output`. `nano_cost` is the
    cost in nanodollars of the `priced` requests; what the `unpriced` ones cost is not known. A failure that used no token is
    neither. The tokens of the `guessed` ones are a guess. Latency (microseconds in all, and by bucket) is that of the requests
    that were answered; of a stream, that of its first chunk.
    """

    requests: int = 0
    errors: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    nano_cost: int = 0
    priced: int = 0
    unpriced: int = 0
    latency_us: int = 0
    buckets: list[int] = field(default_factory=_no_buckets)
    guessed: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one attempt."""
        self.requests += 1
        if outcome.failure is None:
            if not outcome.abandoned:
                self.latency_us += round(outcome.latency * 1e6)
                self.buckets[bisect_left(LATENCY_BOUNDS, outcome.latency)] += 1
        else:
            self.errors += 1
            if outcome.usage == NO_USAGE:
                return
        self.guessed += outcome.guessed
        usage = outcome.usage
        self.input += usage.prompt
        self.output += usage.completion
        self.cached += usage.cached
        self.reasoning += usage.reasoning
        if outcome.cost is None:
            self.unpriced += 1
        else:
            self.priced += 1
            self.nano_cost += round(outcome.cost * NANO)

    def merge(self, other: "Tally") -> None:
        """Add what another one has counted."""
        for name in (*COUNTS, *LATER_COUNTS):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]

    def packed(self) -> str:
        """Return it as it is stored."""
        later = (getattr(self, name) for name in LATER_COUNTS)
        return ",".join(map(str, (*(getattr(self, name) for name in COUNTS), *self.buckets, *later)))

    @classmethod
    def unpacked(cls, stored: bytes) -> "Tally":
        """Read it as it is stored."""
        numbers = [int(number) for number in stored.split(b",")]
        end = len(COUNTS) + len(LATENCY_BOUNDS) + 1
        tally = cls(buckets=numbers[len(COUNTS) : end])
        for names, found in ((COUNTS, numbers), (LATER_COUNTS, numbers[end:])):
            for name, number in zip(names, found, strict=False):
                setattr(tally, name, number)
        return tally


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Return about how many seconds `share` of the requests took at most, evenly spread within a bucket; None without any.

    Beyond the last bound, that bound is all that is known.
    """
    wanted = share * sum(buckets)
    if not wanted:
        return None
    below, lower = 0, 0.0
    for count, upper in zip(buckets, LATENCY_BOUNDS, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return LATENCY_BOUNDS[-1]
