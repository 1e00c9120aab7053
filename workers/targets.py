"""Where a line goes: which endpoint, and by which model of those that may answer it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from balancer.fleet import Fleet
from balancer.outcome import Failure, FailureKind

__all__ = ["NOBODY_HEALTHY", "Target", "Targets", "Tries"]

Models = tuple[str | None, ...]
NOBODY = 10.0
"""Seconds after which it is worth looking again whether anybody serves a line that nobody serves now."""
NOBODY_HEALTHY = "no endpoint that serves this line is healthy"
ATTEMPTS_A_PASS = 3
"""Failures after which a line waits; one for each model, if its chain is longer. A refusal is none: it leaves fewer to ask."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint, and the model that it is asked for (None: its own)."""

    endpoint: str
    model: str | None


class Targets:
    """Picks for the lines of a shard whose own endpoint is `own`."""

    def __init__(self, fleet: Fleet, own: str) -> None:
        self._fleet = fleet
        self._own = own

    def best(self, models: Models, tried: Collection[Target] = ()) -> Target | None:
        """Return the best usable target, None without any.

        An earlier model goes first, then the shard's own endpoint, then the lowest tier, then the least used from here.
        """
        for model in models:
            usable = [target for target in self._serving(model) if target not in tried and self._fleet.may_take(target.endpoint)]
            own = Target(self._own, model)
            if own in usable:
                return own
            if usable:
                return min(usable, key=self._use)
        return None

    def usable_in(self, models: Models) -> float:
        """Return the seconds until an endpoint that serves one of the models may be used again."""
        healths = [self._fleet.health[target.endpoint] for model in models for target in self._serving(model)]
        return max(0.05, min((max(h.open_for, h.limited_for) for h in healths), default=NOBODY))

    def failed(self, target: Target, failure: Failure, models: Models) -> set[Target]:
        """Return what needs not be tried any more after a failure at `target`."""
        if failure.kind is FailureKind.CONTEXT_TOO_LONG:
            return {Target(name, target.model) for name in self._fleet.endpoints}
        if failure.is_the_models:
            return {target}
        return {Target(target.endpoint, model) for model in models}

    def untried(self, models: Models, tried: Collection[Target]) -> bool:
        """Whether anybody else serves one of the models, usable now or not."""
        return any(target not in tried for model in models for target in self._serving(model))

    def _serving(self, model: str | None) -> Iterator[Target]:
        for name in self._fleet.endpoints:
            if self._fleet.catalog.serves(name, model):
                yield Target(name, model)

    def _use(self, target: Target) -> tuple[int, float]:
        endpoint = self._fleet.endpoints[target.endpoint]
        return endpoint.priority, self._fleet.slots.in_use(target.endpoint) / endpoint.max_concurrency


class Tries:
    """One line's way from target to target, until it has to wait or is refused for good."""

    def __init__(self, targets: Targets, models: Models) -> None:
        self._targets = targets
        self._models = models
        self._tried: set[Target] = set()
        self._asked: set[Target] = set()
        self._later: dict[Target, Failure] = {}
        """Those that may answer it another time."""
        self._failures = 0
        self._last: Failure | None = None

    def note(self, target: Target, failure: Failure) -> None:
        """Take in that the line failed at `target`."""
        self._last = failure
        self._asked.add(target)
        self._tried |= self._targets.failed(target, failure, self._models)
        self._failures += failure.retryable
        if failure.kind is FailureKind.CONTEXT_TOO_LONG:
            self._later = {other: why for other, why in self._later.items() if other.model != target.model}
        elif failure.passes:
            self._later[target] = failure

    def has_asked(self, endpoint: str) -> bool:
        """Whether the line has failed at that endpoint, for whichever model."""
        return any(target.endpoint == endpoint for target in self._asked)

    def next(self) -> Target | None:
        """Return where the line may go at once, None if it has to wait or has come to its end."""
        left = max(ATTEMPTS_A_PASS, len(self._models)) - self._failures
        if not self._goes_on or left <= 0:
            return None
        # An attempt is kept for each model that has not been asked: the replicas of one may not use up all of them.
        asked = {target.model for target in self._asked}
        unasked = tuple(model for model in self._models if model not in asked)
        kept = self._targets.best(unasked, self._tried) if len(unasked) >= left else None
        return kept or self._targets.best(self._models, self._tried)

    def reason_to_wait(self) -> Failure | None:
        """Return why the line should be tried again later; None if it is refused for good."""
        if not self._goes_on:
            return None
        if self._later:
            return list(self._later.values())[-1]
        rests = self._targets.untried(self._models, self._tried)
        return Failure(FailureKind.UNAVAILABLE, NOBODY_HEALTHY) if rests else None

    @property
    def _goes_on(self) -> bool:
        """Whether the last failure says nothing about other endpoints, or at least other models."""
        last = self._last
        return last is None or last.worth_trying_elsewhere or last.kind is FailureKind.CONTEXT_TOO_LONG
