"""What a benchmark finds: figures, and what becomes of them over several rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

__all__ = ["BenchmarkFailed", "Bound", "Figure", "Outcome", "Result", "Target", "at_least", "at_most", "summarise"]


class BenchmarkFailed(Exception):
    """A benchmark could not be carried out, or what it ran gave wrong results; then there is no figure."""


class Bound(StrEnum):
    """On which side of a target a figure should lie."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach, in the figure's unit; for a figure that is compared with another, what the ratio should."""

    bound: Bound
    value: float

    def is_met_by(self, measured: float) -> bool:
        """Whether a measured value reaches the target."""
        return measured >= self.value if self.bound is Bound.AT_LEAST else measured <= self.value


def at_least(value: float) -> Target:
    """Return the target of a figure that should be high."""
    return Target(Bound.AT_LEAST, value)


def at_most(value: float) -> Target:
    """Return the target of a figure that should be low."""
    return Target(Bound.AT_MOST, value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; None if it could not be measured, and then `note` says why.

    `against` names another figure of the benchmark: the ratio is that one's value divided by this one's.
    """

    name: str
    value: float | None
    unit: str
    target: Target | None = None
    against: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A figure over all rounds: its `value` is their median. `met` is None without a target, or without a value."""

    name: str
    value: float | None
    unit: str
    values: tuple[float, ...]
    against: str = ""
    ratio: float | None = None
    target: Target | None = None
    met: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one benchmark. `seconds` is how long it took as a whole; `error` is empty if it could be carried out."""

    benchmark: str
    question: str
    results: tuple[Result, ...]
    seconds: float
    error: str = ""


def summarise(rounds: Sequence[Sequence[Figure]]) -> tuple[Result, ...]:
    """Make one result of each figure, in the order of the first round. Ratios are those of the medians."""
    names = list(dict.fromkeys(figure.name for figures in rounds for figure in figures))
    by_name = {name: [f for figures in rounds for f in figures if f.name == name] for name in names}
    values = {name: tuple(f.value for f in figures if f.value is not None) for name, figures in by_name.items()}
    medians = {name: median(found) if found else None for name, found in values.items()}
    return tuple(_result(by_name[name][-1], values[name], medians) for name in names)


def _result(figure: Figure, values: tuple[float, ...], medians: dict[str, float | None]) -> Result:
    value, other = medians[figure.name], medians.get(figure.against)
    ratio = other / value if other is not None and value else None
    judged = ratio if figure.against else value
    met = figure.target.is_met_by(judged) if figure.target and judged is not None else None
    return Result(figure.name, value, figure.unit, values, figure.against, ratio, figure.target, met, figure.note)
