"""The failover decision: where a request goes next, how long it waits, or why it is given up (pure).

Chats, streams and the lines of jobs are all decided on here; `FailoverRules` say how they differ.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind
from balancer.routing.affinity import keeper
from balancer.routing.attempts import Attempts, Target
from balancer.routing.strategy import BalancingStrategy, Candidate, pick, shares
from balancer.runtime.record import record
from balancer.state.health import Circuit, Health

__all__ = ["PATIENCE", "FailoverRules", "GiveUp", "Go", "Option", "Wait", "backoff", "decide"]

PATIENCE = 60.0
"""Seconds that a chat, all its rounds together, waits for endpoints to be well again, unless a single request may take less."""
LOOK_AGAIN = 0.05
"""Seconds to wait, at least, for an endpoint that can't be used now."""
NOBODY_HEALTHY = Failure(FailureKind.UNAVAILABLE, "no endpoint that serves this request is healthy")


@record(frozen=True, slots=True)
class Option:
    """An endpoint that serves a request: its health, and its requests in flight from everywhere.

    `model` is the one that it would be asked for, `position` that model's place in the request's chain. `probes` counts the
    requests that find out already, if its circuit is half open, whether it is well again. `limit` is how many may be in flight;
    0 for the one that the endpoint begins with.
    """

    endpoint: Endpoint
    health: Health
    load: float
    model: str | None = None
    position: int = 0
    probes: float = 0
    limit: int = 0

    @property
    def slots(self) -> int:
        """Requests that may be in flight."""
        return self.limit or self.endpoint.first_limit

    @property
    def target(self) -> Target:
        """What has been tried once it has been tried."""
        return Target(self.endpoint.name, self.model)

    @property
    def soonest(self) -> float:
        """Seconds until it may be used again."""
        return max(self.health.open_for, self.health.limited_for)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free, as far as is known."""
        return self.load < self.slots


@dataclass(frozen=True, slots=True)
class FailoverRules:
    """How a kind of request is balanced and how long it is tried. Times are seconds.

    `attempts` may fail, or one for each model of a longer chain. Without `fallback`, only the first endpoint is tried. With
    `rounds`, all endpoints are tried again after a backoff that grows from `first_pause` to `longest_pause`, until `patience` is
    spent on it, and one that is not well is better than none; without, a request that was tried is given up, and one that was not
    waits up to `patience` for an endpoint to be usable. Of equals, `home` is preferred. With `spill`, a full endpoint is passed
    over while another of the same rank has room; without, shares follow the strategy even then. `most_probes` requests at once
    may find out whether an endpoint is well again.
    """

    strategy: BalancingStrategy
    attempts: int
    patience: float
    fallback: bool = True
    rounds: bool = True
    first_pause: float = 0.05
    longest_pause: float = 2.0
    spill: bool = False
    home: str | None = None
    most_probes: int = 1


@record(frozen=True, slots=True)
class Go:
    """Send it to `target`. `turns` is the strategy's memory to go on with (see `strategy.pick`)."""

    target: Target
    turns: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again in so many seconds, in another round."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Try no more now. `final`: no endpoint will take it another time either."""

    failure: Failure
    final: bool


Decision = Go | Wait | GiveUp


def decide(
    attempts: Attempts, options: Sequence[Option], rules: FailoverRules, turns: Mapping[str, float], rng: random.Random
) -> Decision:
    """Say what becomes of a request, given what was tried and every endpoint that serves one of its models, usable or not."""
    if not attempts.asked:
        if not options:
            return GiveUp(_not_served(attempts.models), final=False)
        usable = [option for option in options if _is_usable(option, rules)]
        return (
            _best(usable, attempts.prefix, rules, turns, rng)
            if usable
            else _without_usable(attempts, options, options, rules, turns, rng)
        )
    return _after_failures(attempts, options, rules, turns, rng)


def _after_failures(
    attempts: Attempts, options: Sequence[Option], rules: FailoverRules, turns: Mapping[str, float], rng: random.Random
) -> Decision:
    last = attempts.last
    if last is not None and not _leaves_others(last, rules.fallback):
        return GiveUp(last, final=True)
    left = [o for o in options if o.model not in attempts.too_small and o.target not in attempts.hopeless]
    if not left:
        return GiveUp(attempts.passing or last or NOBODY_HEALTHY, final=attempts.passing is None)
    if not rules.fallback:
        left = [o for o in left if o.endpoint.name == attempts.asked[0].endpoint] or left
    most = max(rules.attempts, len(attempts.models) if rules.fallback else 1)
    if attempts.failures >= most:
        return GiveUp(attempts.passing or NOBODY_HEALTHY, final=False)
    fresh = [option for option in left if option.target not in attempts.tried]
    usable = [option for option in fresh if _is_usable(option, rules)]
    if not usable:
        return _without_usable(attempts, left, fresh, rules, turns, rng)
    if not attempts.rounds:
        usable = _reserving(usable, attempts, most - attempts.failures)
    return _best(usable, attempts.prefix, rules, turns, rng)


def _best(
    usable: Sequence[Option], prefix: int | None, rules: FailoverRules, turns: Mapping[str, float], rng: random.Random
) -> Go:
    """Pick the keeper of the prefix, else by the strategy, among those of the lowest rank: an earlier model, then `home`, then a
    lower tier."""
    best = usable
    if len(usable) > 1:
        ranks = [(o.position, o.endpoint.name != rules.home, o.endpoint.priority) for o in usable]
        first = min(ranks)
        best = [option for option, rank in zip(usable, ranks, strict=True) if rank == first]
        if rules.spill:
            best = [option for option in best if option.has_room] or best
    if len(best) == 1:
        return Go(best[0].target, turns)
    candidates = [Candidate(o.endpoint.name, o.endpoint.weight, o.load, o.slots) for o in best]
    if prefix is not None and (weights := shares(rules.strategy, candidates)):
        kept_at = keeper(prefix, candidates, weights)
        if kept_at is not None:
            return Go(Target(kept_at, best[0].model), turns)
    picked = pick(rules.strategy, candidates, turns, rng=rng)
    return Go(Target(picked.name, best[0].model), picked.turns)


def _reserving(usable: list[Option], attempts: Attempts, most: int) -> list[Option]:
    """Keep an attempt for each model of the chain that has not been asked: the replicas of one may not use up all of them."""
    asked = {target.model for target in attempts.asked}
    unasked = {option.model for option in usable} - asked
    return [option for option in usable if option.model in unasked] if unasked and len(unasked) >= most else usable


def _without_usable(
    attempts: Attempts,
    left: Sequence[Option],
    fresh: Sequence[Option],
    rules: FailoverRules,
    turns: Mapping[str, float],
    rng: random.Random,
) -> Decision:
    """Decide where no endpoint that has not been tried in this round can be used now."""
    if not rules.rounds:
        pause = max(LOOK_AGAIN, min(option.soonest for option in left))
        if attempts.asked or pause > rules.patience:
            return GiveUp(attempts.passing or NOBODY_HEALTHY, final=False)
        return Wait(pause)
    if fresh and not any(_is_resting(option) for option in fresh):
        return _least_bad(fresh, turns)
    pause = _pause_before(attempts, left, rules, rng)
    if pause <= rules.patience - attempts.waited:
        return Wait(pause)
    return GiveUp(attempts.passing or NOBODY_HEALTHY, final=False) if attempts.asked else _least_bad(left, turns)


def _least_bad(options: Sequence[Option], turns: Mapping[str, float]) -> Go:
    """Pick the endpoint that may be used soonest, though it may not be used now."""
    best = min(options, key=lambda o: (o.health.circuit is Circuit.OPEN, o.soonest))
    return Go(best.target, turns)


def _pause_before(attempts: Attempts, left: Sequence[Option], rules: FailoverRules, rng: random.Random) -> float:
    """Return the seconds to wait before the next round. What all endpoints that are well ask for (Retry-After) is honoured."""
    well = [option for option in left if option.health.circuit is not Circuit.OPEN] or left
    asked = min(max(option.health.limited_for, attempts.pauses.get(option.endpoint.name, 0.0)) for option in well)
    return max(asked, backoff(attempts.rounds, rules.first_pause, rules.longest_pause, rng))


def backoff(waits: int, first: float, longest: float, rng: random.Random) -> float:
    """Return the seconds of the wait number `waits` (from 0): exponential, capped, half of it random.

    Equal jitter: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015.
    """
    whole = min(longest, first * 2.0 ** min(waits, 30))
    return whole / 2 + rng.uniform(0, whole / 2)


def _leaves_others(failure: Failure, fallback: bool) -> bool:
    """Whether another endpoint, or at least another model, may take what was refused; without `fallback`, the same one."""
    if not fallback:
        return failure.retryable
    return failure.worth_trying_elsewhere or failure.kind is FailureKind.CONTEXT_TOO_LONG


def _is_resting(option: Option) -> bool:
    """Whether the endpoint is well, but has asked to be left alone for now (Retry-After)."""
    return option.health.limited_for > 0 and option.health.circuit is not Circuit.OPEN


def _is_usable(option: Option, rules: FailoverRules) -> bool:
    """Whether a request may go there now: it is well, or not enough requests find out yet whether it is."""
    health = option.health
    if health.circuit is Circuit.CLOSED:
        return health.limited_for <= 0
    return health.usable and option.probes < rules.most_probes


def _not_served(models: Sequence[str | None]) -> Failure:
    asked = " or ".join(repr(model) for model in models if model)
    what = f"serves the model {asked}" if asked else "is left: they were removed or are being drained"
    return Failure(FailureKind.UNAVAILABLE, f"no endpoint {what}")
