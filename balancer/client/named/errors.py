"""Errors of the named clients.

LLMError                            a request failed; `kind` says why
├── RateLimitError                  too many requests, or the account's quota is used up
├── APIConnectionError              no answer: refused, reset, or not in time
└── LLMServiceUnavailableError      the service failed or has too much work, or no endpoint is healthy
"""

from balancer.errors import BalancerError
from balancer.outcome import Failure, FailureKind
from balancer.results import Attempt

__all__ = ["APIConnectionError", "LLMError", "LLMServiceUnavailableError", "RateLimitError", "error_of"]


class LLMError(BalancerError):
    """A request failed.

    `kind` is a FailureKind, `status` the HTTP status (None: no answer), `retry_after` the seconds that the service asks to wait
    (None: it names none), `attempts` all that was tried.
    """

    def __init__(
        self,
        message: str,
        kind: FailureKind,
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


class RateLimitError(LLMError):
    """Too many requests for now, or the account's quota is used up."""


class APIConnectionError(LLMError):
    """No answer: the connection failed, or the time was over."""


class LLMServiceUnavailableError(LLMError):
    """The service failed or has more work than it can take, or no endpoint is healthy."""


_CLASSES = {
    FailureKind.RATE_LIMIT: RateLimitError,
    FailureKind.QUOTA: RateLimitError,
    FailureKind.CONNECTION: APIConnectionError,
    FailureKind.TIMEOUT: APIConnectionError,
    FailureKind.UNRESPONSIVE: APIConnectionError,
    FailureKind.OVERLOADED: LLMServiceUnavailableError,
    FailureKind.SERVER: LLMServiceUnavailableError,
    FailureKind.INVALID_RESPONSE: LLMServiceUnavailableError,
    FailureKind.FLEET_FULL: LLMServiceUnavailableError,
    FailureKind.UNAVAILABLE: LLMServiceUnavailableError,
}


def error_of(failure: Failure | None, message: str, attempts: tuple[Attempt, ...]) -> LLMError:
    """Return the error for a failure; `message` is about all attempts."""
    failure = failure or Failure(FailureKind.UNAVAILABLE, message)
    return _CLASSES.get(failure.kind, LLMError)(message, failure.kind, failure.status, failure.retry_after, attempts)
