"""What every benchmark is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.results import Figure

__all__ = ["Benchmark"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One question, and how to measure the answer.

    `measure` carries out one round, with small sizes if its argument (`quick`) is true. It starts all that it needs and ends it
    again, also when it is cancelled, which happens after `limit` seconds. Raises BenchmarkFailed.
    """

    name: str
    question: str
    measure: Callable[[bool], Awaitable[Sequence[Figure]]]
    limit: float
