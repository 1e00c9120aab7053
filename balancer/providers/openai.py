"""OpenAI's wire format, as vLLM and many other servers speak it: bodies pass through untouched.

Only the endpoint's own settings are put in: the model's upstream name, the default and the cap of `max_tokens`, the default
temperature. Unknown fields are forwarded.
"""

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.base import Adapter, Answer, Call

__all__ = ["OpenAIAdapter", "failure_kind", "retry_after_seconds", "usage_of"]

MOST_TOKENS = 2**40
"""A count beyond this is no count."""
_SHOWN = 300
"""Characters of an endpoint's error that go into the error message."""


class OpenAIAdapter(Adapter):
    """OpenAI chat completions, and every server that speaks them."""

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        return Call(path, orjson.dumps(apply_endpoint(endpoint, body)))

    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if status == 200 and isinstance(parsed, dict) and isinstance(parsed.get("choices"), list) and not parsed.get("error"):
            return Answer(_one_line(body), usage_of(parsed.get("usage")), parsed=parsed)
        if status == 200:
            return _unreadable(status, body, parsed)
        message, code = _error_of(parsed, body)
        failure = Failure(failure_kind(status, code), f"HTTP {status}: {message}", status, retry_after_seconds(headers))
        return Answer(_one_line(body) if isinstance(parsed, dict) else b"", NO_USAGE, failure)


def apply_endpoint(endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `body` with the endpoint's model name, defaults and token cap; `body` itself where nothing changes."""
    changes: dict[str, Any] = {}
    model = body.get("model")
    upstream = endpoint.models.get(model, model) if model else next(iter(endpoint.models.values()), None)
    if upstream is not None and upstream != model:
        changes["model"] = upstream
    if endpoint.max_tokens is not None:
        changes |= _token_limit(endpoint.max_tokens, body)
    if endpoint.temperature is not None and body.get("temperature") is None:
        changes["temperature"] = endpoint.temperature
    return {**body, **changes} if changes else body


def _token_limit(cap: int, body: Mapping[str, Any]) -> dict[str, int]:
    # `max_completion_tokens` is the newer name, which reasoning models insist on; the request's own choice is kept.
    asked = {name: body[name] for name in ("max_completion_tokens", "max_tokens") if isinstance(body.get(name), int)}
    if not asked:
        return {"max_tokens": cap}
    return {name: cap for name, limit in asked.items() if limit > cap}


def failure_kind(status: int, code: str | None) -> FailureKind:
    """Say what a status other than 200, with the error's code or type, means for retrying."""
    if code in ("insufficient_quota", "credit_balance_exhausted"):
        return FailureKind.QUOTA
    if status in _KINDS:
        return _KINDS[status]
    return FailureKind.SERVER if status >= 500 or status < 400 else FailureKind.BAD_REQUEST


_KINDS = {
    401: FailureKind.AUTHENTICATION,
    403: FailureKind.AUTHENTICATION,
    408: FailureKind.TIMEOUT,
    409: FailureKind.SERVER,
    429: FailureKind.RATE_LIMIT,
    503: FailureKind.OVERLOADED,
    504: FailureKind.TIMEOUT,
    529: FailureKind.OVERLOADED,
}


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


def _one_line(body: bytes) -> bytes:
    # Inside a JSON string a line break is escaped, so each one that stands here is white space.
    return body.replace(b"\n", b" ").replace(b"\r", b" ")


def usage_of(usage: Any) -> Usage:
    """Read OpenAI's `usage` object; anything else counts as nothing."""
    if not isinstance(usage, dict):
        return NO_USAGE
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    return Usage(
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _count(prompt_details, "cached_tokens"),
        _count(completion_details, "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and 0 < value <= MOST_TOKENS else 0


def _unreadable(status: int, body: bytes, parsed: Any) -> Answer:
    """Refuse a 200 answer that is none. What it says may be half a completion, so it isn't shown."""
    if isinstance(parsed, dict) and not parsed.get("error"):
        what = f"a 200 answer without `choices` ({len(body)} bytes)"
    elif isinstance(parsed, dict):
        what = f"an error in a 200 answer: {_error_of(parsed, body)[0]}"
    elif parsed is None:
        what = f"a 200 answer that is not JSON ({_kind_of(body)}, {len(body)} bytes)"
    else:
        what = f"a 200 answer that is JSON, but no object ({len(body)} bytes)"
    return Answer(b"", NO_USAGE, Failure(FailureKind.INVALID_RESPONSE, what, status))


def _kind_of(body: bytes) -> str:
    start = body[:64].lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return "cut off or broken" if start.startswith(b"{") else "something else"


def _error_of(parsed: Any, body: bytes) -> tuple[str, str | None]:
    """Return the message and the code (else the type) of an error body, whatever its shape."""
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    if isinstance(error, str):
        return error[:_SHOWN], None
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail")
        code = error.get("code") or error.get("type")
        return str(message or _shown(body))[:_SHOWN], str(code) if code is not None else None
    return _shown(body), None


def _shown(body: bytes) -> str:
    text = body[: _SHOWN * 4].decode("utf-8", "replace").strip()
    return (text[:_SHOWN] + "…" if len(text) > _SHOWN else text) or "(empty)"
