"""Errors of the named clients.

LLMError                            a request failed; `kind` says why
├── RateLimitError                  too many requests, or the account's quota is used up
├── APIConnectionError              no answer: refused, reset, or not in time
└── LLMServiceUnavailableError      the service failed or has too much work, or no endpoint is healthy
"""

from balancer.client.failed_request import FailedRequest
from balancer.outcome import Failure, FailureKind
from balancer.results import Attempt

__all__ = ["APIConnectionError", "LLMError", "LLMServiceUnavailableError", "RateLimitError", "error_of"]


class LLMError(FailedRequest):
    """A request failed: see FailedRequest for what it has."""


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
