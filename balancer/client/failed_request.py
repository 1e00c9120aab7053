"""The base of errors about a request that failed at its endpoints. A module of its own, since two packages raise such errors."""

from balancer.errors import BalancerError
from balancer.outcome import FailureKind
from balancer.results import Attempt

__all__ = ["FailedRequest"]


class FailedRequest(BalancerError):
    """A request failed.

    `kind` says why (None if it is not known), `status` is the HTTP status (None: no answer), `retry_after` the seconds that the
    service asks to wait (None: it names none), `attempts` are all that were made.
    """

    def __init__(
        self,
        message: str,
        kind: FailureKind | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        attempts: tuple[Attempt, ...] = (),
    ) -> None:
        self.kind = kind
        self.status = status
        self.retry_after = retry_after
        self.attempts = attempts
        super().__init__(message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.kind, self.status, self.retry_after, self.attempts)
