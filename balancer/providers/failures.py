"""Classifies an endpoint's error: kind of failure, Retry-After, message."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

from balancer.outcome import Failure, FailureKind

__all__ = ["SHOWN", "error_of", "failure_kind", "retry_after_seconds", "shown", "unreadable", "without_keys"]

SHOWN = 300
"""Characters of an endpoint's error that go into the error message."""
_BY_CODE = {
    "insufficient_quota": FailureKind.QUOTA,
    "credit_balance_exhausted": FailureKind.QUOTA,
    "billing_hard_limit_reached": FailureKind.QUOTA,
    "context_length_exceeded": FailureKind.CONTEXT_TOO_LONG,
    "content_filter": FailureKind.CONTENT_FILTER,
    "content_policy_violation": FailureKind.CONTENT_FILTER,
    "model_not_found": FailureKind.MODEL_NOT_FOUND,
}
"""OpenAI's codes, and those of its imitators, that say more than the status."""
_BY_STATUS = {
    401: FailureKind.AUTHENTICATION,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTHENTICATION,
    404: FailureKind.MODEL_NOT_FOUND,
    408: FailureKind.TIMEOUT,
    409: FailureKind.SERVER,
    429: FailureKind.RATE_LIMIT,
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}
_SECRET = r"(?=[^\s\"',;&<>]{0,300}[\d*])[^\s\"',;&<>]{6,300}"
"""What a key may look like where the text says that one follows: no plain word, so it has a digit, or stars in its middle."""
_KEYS = re.compile(
    rf"""(?P<before>\bbearer\s+
        | \b(?:x-)?(?:goog-)?api[-_ ]?key(?:\ provided)?["']?\s*[:=]\s*["']?
        | \bauthorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic)\s+)?
        | [?&]key=)
        {_SECRET}
    | \b(?P<prefix>sk-|sk_|gsk_|hf_|xai-|AIza)[\w*-]{{3,300}}""",
    re.IGNORECASE | re.VERBOSE,
)
"""Keys in an error's text: those that are announced, and those of the well-known makers by how they begin."""


def without_keys(text: str) -> str:
    """Put `***` in place of all that looks like a key, or a part of one: providers quote the key that they refuse."""
    return _KEYS.sub(lambda found: f"{found['before'] or found['prefix']}***", text)


def failure_kind(status: int, code: str | None = None) -> FailureKind:
    """Say what a status other than 200, with the error's code or type, means for retrying."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return FailureKind.SERVER if status >= 500 or status < 400 else FailureKind.BAD_REQUEST


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long to wait: `retry-after-ms`, else `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _until(value)
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _until(date: str) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time())
    except (ValueError, OverflowError):
        return math.nan


def error_of(parsed: Any, body: bytes) -> tuple[str, str | None]:
    """Return the message and the code (else the type) of an error body, whatever its shape. No key stands in the message."""
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    if isinstance(error, str):
        return _cut(error), None
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        code = error.get("code") or error.get("type")
        return _cut(str(message)) if message else shown(body), str(code) if code is not None else None
    return shown(body), None


def unreadable(status: int, body: bytes, parsed: Any, missing: str) -> Failure:
    """Return the failure of a 200 answer that is none: it is no JSON object, holds an error, or lacks `missing`.

    What it says may be half a completion, so it isn't shown.
    """
    if isinstance(parsed, dict) and not parsed.get("error"):
        what = f"a 200 answer without `{missing}` ({len(body)} bytes)"
    elif isinstance(parsed, dict):
        what = f"an error in a 200 answer: {error_of(parsed, body)[0]}"
    elif parsed is None:
        what = f"a 200 answer that is not JSON ({_kind_of(body)}, {len(body)} bytes)"
    else:
        what = f"a 200 answer that is JSON, but no object ({len(body)} bytes)"
    return Failure(FailureKind.INVALID_RESPONSE, what, status)


def _kind_of(body: bytes) -> str:
    start = body[:64].lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return "cut off or broken" if start.startswith(b"{") else "something else"


def shown(body: bytes) -> str:
    """Return the beginning of a body as text without keys, for an error message."""
    text = without_keys(body[: SHOWN * 4].decode("utf-8", "replace").strip())
    return (text[:SHOWN] + "…" if len(text) > SHOWN else text) or "(empty)"


def _cut(message: str) -> str:
    # A key is looked for before the end is cut off: half of one might not look like one.
    return without_keys(message[: SHOWN * 4])[:SHOWN]
