"""Google's errors (google.rpc.Status, google/rpc/error_details.proto).

`{"error": {"code": 429, "message", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": ".../google.rpc.RetryInfo", ...}]}}`,
the whole perhaps in a list of one.
"""

import re
from collections.abc import Mapping
from typing import Any

from balancer.outcome import Failure, FailureKind
from balancer.providers.failures import SHOWN, failure_kind, retry_after_seconds, shown, without_keys

__all__ = ["gemini_failure", "openai_error", "stream_failure", "unwrapped"]

_BY_NAME = {
    "ABORTED": FailureKind.SERVER,
    "CANCELLED": FailureKind.SERVER,
    "DEADLINE_EXCEEDED": FailureKind.TIMEOUT,
    "INTERNAL": FailureKind.SERVER,
    "PERMISSION_DENIED": FailureKind.AUTHENTICATION,
    "RESOURCE_EXHAUSTED": FailureKind.RATE_LIMIT,
    "UNAUTHENTICATED": FailureKind.AUTHENTICATION,
    "UNAVAILABLE": FailureKind.OVERLOADED,
}
"""By the error's `status`, which says more than the HTTP status (499 is no fault of the request)."""
_TOO_LONG = re.compile(r"token count.{0,80}exceeds", re.IGNORECASE | re.DOTALL)
"""`The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).` There is no code for it."""
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
"""A duration in JSON (google/protobuf/duration.proto)."""


def gemini_failure(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> Failure:
    """Return the failure that an answer other than 200 tells of, whatever its shape."""
    error = _error(parsed)
    retry_after = _retry_delay(error)
    if retry_after is None:
        retry_after = retry_after_seconds(headers)
    kind = _kind(status, error)
    one_model = kind is FailureKind.QUOTA and "PerModel" in _spent_day(error)
    return Failure(kind, f"HTTP {status}: {_message(parsed, body)}", status, retry_after, one_model=one_model)


def stream_failure(event: Mapping[str, Any], data: bytes) -> Failure:
    """Return the failure that an event with an `error` tells of. `data` is the event as it came."""
    error = _error(event)
    code = error.get("code")
    kind = _kind(code if isinstance(code, int) else 500, error)
    return Failure(kind, f"an error in the stream: {_message(event, data)}", retry_after=_retry_delay(error))


def openai_error(parsed: Any, body: bytes) -> dict[str, Any] | None:
    """Return the error in OpenAI's shape; None if the body holds none."""
    error = _error(parsed)
    if not error:
        return None
    name = error.get("status")
    code = name if isinstance(name, str) else None
    return {"error": {"message": _message(parsed, body), "type": "gemini_error", "param": None, "code": code}}


def unwrapped(parsed: Any) -> Any:
    """Take JSON out of a list of one, in which Google puts it at times."""
    return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


def _error(parsed: Any) -> Mapping[str, Any]:
    parsed = unwrapped(parsed)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    return error if isinstance(error, dict) else {}


def _message(parsed: Any, body: bytes) -> str:
    # Google names the key of a suspended account: "Consumer 'api_key:...' has been suspended".
    message = _text(_error(parsed), "message")
    return without_keys(message[: SHOWN * 4])[:SHOWN] if message else shown(body)


def _kind(status: int, error: Mapping[str, Any]) -> FailureKind:
    name = error.get("status")
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    kind = kind or failure_kind(status)
    if kind is FailureKind.RATE_LIMIT and _spent_day(error):
        return FailureKind.QUOTA
    if kind is FailureKind.BAD_REQUEST:
        if any(detail.get("reason") == "API_KEY_INVALID" for detail in _details(error)):
            return FailureKind.AUTHENTICATION
        if _TOO_LONG.search(_text(error, "message")):
            return FailureKind.CONTEXT_TOO_LONG
    return kind


def _spent_day(error: Mapping[str, Any]) -> str:
    """Return the id of the limit for a day that is spent, such as GenerateRequestsPerDayPerProjectPerModel; "" if none is."""
    for detail in _details(error):
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict) and "PerDay" in (found := _text(violation, "quotaId")):
                return found
    return ""


def _retry_delay(error: Mapping[str, Any]) -> float | None:
    for detail in _details(error):
        found = _SECONDS.fullmatch(_text(detail, "retryDelay"))
        if found:
            return float(found[1])
    return None


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) else ""


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
