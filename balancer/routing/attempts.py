"""The failed attempts of one request: the input of the failover decision."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from balancer.outcome import Failure, FailureKind
from balancer.runtime.record import record

__all__ = ["Attempts", "Target"]

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@record(frozen=True, slots=True)
class Target:
    """An endpoint, and the model that it is asked for (None: its own)."""

    endpoint: str
    model: str | None = None


class Attempts:
    """The failed attempts of one request, which one of `models` may answer, the first if possible.

    `tried` are the targets of this round, which ends when none is left, `rounds` how many have ended, `waited` the seconds spent
    between them. `pauses` are the seconds for which endpoints have asked to be left alone in this round. `hopeless` targets would
    refuse the request in any round. `failures` counts the attempts that failed but may go well another time; a refused
    request excludes the endpoint; it is not counted. `prefix` is a hash of the prompt prefix, None for no affinity.
    """

    __slots__ = (
        "_passing",
        "asked",
        "failures",
        "hopeless",
        "last",
        "models",
        "pauses",
        "prefix",
        "rounds",
        "too_small",
        "tried",
        "waited",
    )

    def __init__(self, models: tuple[str | None, ...], prefix: int | None = None) -> None:
        self.models = models
        self.prefix = prefix
        # Nothing is made before the first failure: most requests have none, and the garbage collector counts every container.
        self.asked: tuple[Target, ...] = ()
        self.tried: frozenset[Target] = frozenset()
        self.hopeless: frozenset[Target] = frozenset()
        self.too_small: frozenset[str | None] = frozenset()
        """Models that can't read so long a request, wherever they run."""
        self.failures = 0
        self.rounds = 0
        self.waited = 0.0
        self.pauses: Mapping[str, float] = _NOTHING
        self.last: Failure | None = None
        self._passing: Mapping[Target, Failure] = _NOTHING

    def failed(self, target: Target, failure: Failure) -> None:
        """Record that the request failed at `target`."""
        self.last = failure
        self.asked = (*self.asked, target)
        models = (target.model,) if failure.is_the_models else self.models
        concerned = frozenset(Target(target.endpoint, model) for model in models)
        self.tried |= concerned
        if failure.kind is FailureKind.CONTEXT_TOO_LONG:
            self.too_small |= {target.model}
        elif not failure.retryable:
            self.hopeless |= concerned
        self.failures += failure.counts_as_attempt
        if failure.retry_after is not None:
            self.pauses = {**self.pauses, target.endpoint: failure.retry_after}
        if failure.passes:
            self._passing = {**self._passing, target: failure}

    def next_round(self, pause: float) -> None:
        """Begin another round after a pause of that many seconds."""
        self.rounds += 1
        self.waited += pause
        self.tried = frozenset()
        self.pauses = _NOTHING

    def has_asked(self, endpoint: str) -> bool:
        """Whether the request has failed at that endpoint, for whichever model."""
        return bool(self.asked) and any(target.endpoint == endpoint for target in self.asked)

    @property
    def passing(self) -> Failure | None:
        """The last failure that may pass, so that the request may be answered another time; None if there is none."""
        found = [failure for target, failure in self._passing.items() if target.model not in self.too_small]
        return found[-1] if found else None
