"""Maps failures of the fleet to HTTP statuses and errors in OpenAI's format."""

import math

from balancer.fleet.sent import Sent
from balancer.outcome import Failure, FailureKind
from producer_api.http.errors import INVALID_REQUEST, SERVER_ERROR, UNAVAILABLE, Problem

__all__ = ["error_object", "problem_of", "retry_after_of", "status_of"]

RATE_LIMITED = "rate_limit_error"
_ANSWERS: dict[FailureKind, tuple[int, str]] = {
    FailureKind.CONNECTION: (502, SERVER_ERROR),
    FailureKind.TIMEOUT: (504, SERVER_ERROR),
    FailureKind.UNRESPONSIVE: (504, SERVER_ERROR),
    FailureKind.RATE_LIMIT: (429, RATE_LIMITED),
    FailureKind.FLEET_FULL: (429, RATE_LIMITED),
    FailureKind.OVERLOADED: (503, UNAVAILABLE),
    FailureKind.SERVER: (502, SERVER_ERROR),
    FailureKind.INVALID_RESPONSE: (502, SERVER_ERROR),
    FailureKind.CHECK_FAILED: (502, SERVER_ERROR),
    FailureKind.ANSWER_TOO_LARGE: (502, SERVER_ERROR),
    # The endpoint's key and account are this server's affair, not the caller's.
    FailureKind.AUTHENTICATION: (502, SERVER_ERROR),
    FailureKind.QUOTA: (503, UNAVAILABLE),
    FailureKind.MODEL_NOT_FOUND: (404, INVALID_REQUEST),
    FailureKind.BAD_REQUEST: (400, INVALID_REQUEST),
    FailureKind.UNSUPPORTED: (400, INVALID_REQUEST),
    FailureKind.CONTENT_FILTER: (400, INVALID_REQUEST),
    FailureKind.CONTEXT_TOO_LONG: (400, INVALID_REQUEST),
    FailureKind.UNAVAILABLE: (503, UNAVAILABLE),
}


def status_of(kind: FailureKind) -> int:
    """Return the HTTP status of the error response for a kind of failure."""
    return _ANSWERS[kind][0]


def problem_of(sent: Sent) -> Problem:
    """Return the error for the caller of a request that was given up."""
    failure = sent.failure or Failure(FailureKind.UNAVAILABLE, "no endpoint was tried")
    if failure.kind is FailureKind.UNAVAILABLE and not sent.attempts:
        return Problem(404, failure.message, INVALID_REQUEST, "model", "model_not_found")
    status, kind = _ANSWERS[failure.kind]
    if failure.kind is FailureKind.BAD_REQUEST and failure.status is not None and 400 <= failure.status < 500:
        status = failure.status
    message = failure.message if len(sent.attempts) <= 1 else sent.explanation()
    return Problem(status, message, kind, failure.param, str(failure.kind))


def error_object(problem: Problem) -> dict[str, str | None]:
    """Return a problem as the `error` of a stream's last event."""
    return {"message": problem.message, "type": problem.type, "param": problem.param, "code": problem.code}


def retry_after_of(failure: Failure | None) -> str | None:
    """Return the `Retry-After` of a failure, in whole seconds, None where it says nothing."""
    if failure is None or failure.kind not in (FailureKind.RATE_LIMIT, FailureKind.FLEET_FULL, FailureKind.OVERLOADED):
        return None
    return str(max(1, math.ceil(failure.retry_after or 1.0)))
