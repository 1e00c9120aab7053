"""Where a line goes: which endpoint, and by which model of those that may answer it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from balancer.fleet import Fleet
from balancer.outcome import Failure, FailureKind

__all__ = ["Target", "Targets"]

Models = tuple[str | None, ...]
NOBODY = 10.0
"""Seconds after which it is worth looking again whether anybody serves a line that nobody serves now."""


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

    def _serving(self, model: str | None) -> Iterator[Target]:
        for name in self._fleet.endpoints:
            if self._fleet.serves(name, model):
                yield Target(name, model)

    def _use(self, target: Target) -> tuple[int, float]:
        endpoint = self._fleet.endpoints[target.endpoint]
        return endpoint.priority, self._fleet.slots.in_use(target.endpoint) / endpoint.max_concurrency
