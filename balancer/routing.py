"""Which endpoint gets the next interactive request, and what to do when it fails: pure decisions."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from balancer.endpoint import Endpoint
from balancer.health import Circuit, Health
from balancer.strategy import BalancingStrategy, Candidate, pick

__all__ = ["Choice", "Option", "RetryPlan", "choose", "least_bad", "pause_before", "reserving"]


@dataclass(frozen=True, slots=True)
class Option:
    """An endpoint that serves a request: its health, and its requests in flight from everywhere.

    `model` is the one that it would be asked for, `position` that model's place in the request's chain.
    """

    endpoint: Endpoint
    health: Health
    load: float
    model: str | None = None
    position: int = 0

    @property
    def key(self) -> tuple[str, str | None]:
        """What has been tried once it has been tried."""
        return self.endpoint.name, self.model

    @property
    def rank(self) -> tuple[int, int]:
        """What goes first: an earlier model of the chain, then a lower tier."""
        return self.position, self.endpoint.priority


@dataclass(frozen=True, slots=True)
class Choice:
    """The endpoint and the model to try, and the turns to go on with (see `strategy.pick`)."""

    name: str
    model: str | None
    turns: dict[str, float]


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """`attempts` in all; seconds of backoff grow from `first` to `longest` once every endpoint has been tried."""

    attempts: int
    fallback: bool = True
    first: float = 0.05
    longest: float = 2.0


def choose(
    strategy: BalancingStrategy,
    options: Sequence[Option],
    tried: Collection[tuple[str, str | None]],
    turns: Mapping[str, float],
    rng: random.Random,
) -> Choice | None:
    """Pick an endpoint that has not been tried: by the strategy among the usable ones of the lowest rank; when none is usable,
    the least bad, which is the one whose circuit closes soonest. None when all have been tried, or when it is better to wait
    for one that has only asked to be left alone for a while."""
    fresh = [option for option in options if option.key not in tried]
    if not fresh:
        return None
    usable = [option for option in fresh if option.health.usable and not _is_busy_trial(option)]
    if not usable:
        if any(_is_resting(option) for option in fresh):
            return None
        return least_bad(fresh, turns)
    first = min(option.rank for option in usable)
    best = [option for option in usable if option.rank == first]
    candidates = [Candidate(o.endpoint.name, o.endpoint.weight, o.load, o.endpoint.max_concurrency) for o in best]
    picked = pick(strategy, candidates, turns, rng=rng)
    return Choice(picked.name, best[0].model, picked.turns)


def reserving(options: Sequence[Option], tried: Collection[tuple[str, str | None]], attempts: int) -> Sequence[Option]:
    """Return the options that leave an attempt for each model of the chain that has not been asked.

    With as many models left as `attempts`, what serves an earlier model is passed over: its replicas may not use up all of them.
    """
    asked = {option.position for option in options if option.key in tried}
    left = {option.position for option in options if option.health.usable} - asked
    return [option for option in options if option.position in left] if left and len(left) >= attempts else options


def least_bad(options: Sequence[Option], turns: Mapping[str, float]) -> Choice:
    """Pick the endpoint that may be used soonest, though it may not be used now."""
    best = min(options, key=lambda o: (o.health.circuit is Circuit.OPEN, max(o.health.open_for, o.health.limited_for)))
    return Choice(best.endpoint.name, best.model, dict(turns))


def _is_resting(option: Option) -> bool:
    """Whether the endpoint is well, but has asked to be left alone for now (Retry-After)."""
    return option.health.limited_for > 0 and option.health.circuit is not Circuit.OPEN


def _is_busy_trial(option: Option) -> bool:
    """Whether a request is finding out already if the endpoint is well again."""
    return option.health.circuit is Circuit.HALF_OPEN and option.load > 0


def pause_before(plan: RetryPlan, rounds: int, options: Sequence[Option], time_left: float, rng: random.Random) -> float | None:
    """Return the seconds to wait before every endpoint is tried once more (round `rounds`, from 0); None to give up.

    Backoff doubles and half of it is random. What all endpoints that are well ask for (Retry-After) is honoured; if that is
    more than `time_left`, waiting makes no sense.
    """
    well = [option for option in options if option.health.circuit is not Circuit.OPEN] or options
    asked = min((option.health.limited_for for option in well), default=0.0)
    whole = min(plan.longest, plan.first * 2.0**rounds)
    pause = max(asked, whole / 2 + rng.uniform(0, whole / 2))
    return pause if pause <= time_left else None
