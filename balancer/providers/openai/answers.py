"""Reads usage and failures from OpenAI's answers, and validates them.

For OpenAI's own formats, and for others that borrow its error bodies.
"""

from collections.abc import Mapping
from typing import Any

from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, without_keys

__all__ = ["MOST_TOKENS", "count_of", "error_answer", "one_line", "openai_failure", "says_too_long", "stream_failure", "usage_of"]

MOST_TOKENS = 2**40
"""A count beyond this is no count."""
_TOO_LONG = ("maximum context length", "longer than the maximum model length", "exceeds the context window")
"""How OpenAI, vLLM and their imitators say it where they have no code for it."""


def openai_failure(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> Failure:
    """Return the failure that an OpenAI error body (or anything else that is not a 200) tells of."""
    message, kind, param = _read(parsed, body, status)
    return Failure(kind, f"HTTP {status}: {message}", status, retry_after_seconds(headers), param)


def stream_failure(event: Mapping[str, Any], data: bytes) -> Failure:
    """Return the failure that an error amid a stream tells of. vLLM's code is the status that it would have had."""
    error = event.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    message, kind, param = _read(event, data, status)
    return Failure(kind, f"an error in the stream: {message}", param=param)


def error_answer(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> tuple[bytes, Failure]:
    """Return what an answer other than a 200 is handed on as, without keys (empty if it is no JSON object), and its failure."""
    handed_on = b""
    if isinstance(parsed, dict):
        handed_on = without_keys(one_line(body).decode("utf-8", "replace")).encode()
    return handed_on, openai_failure(status, headers, parsed, body)


def _read(parsed: Any, body: bytes, status: int) -> tuple[str, FailureKind, str | None]:
    message, code = error_of(parsed, body)
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {}
    kind = failure_kind(status, code)
    if kind in (FailureKind.BAD_REQUEST, FailureKind.RATE_LIMIT):  # the code may say less than the type, or nothing
        kind = failure_kind(status, str(fields.get("type")))
    if kind is FailureKind.BAD_REQUEST and says_too_long(message):
        kind = FailureKind.CONTEXT_TOO_LONG
    param = fields.get("param")
    return message, kind, without_keys(param) if isinstance(param, str) and param else None


def says_too_long(message: str) -> bool:
    """Whether the message of a refused request says that it is longer than the model can read."""
    lower = message.lower()
    return any(words in lower for words in _TOO_LONG)


def one_line(body: bytes) -> bytes:
    """Put JSON on one line. Inside a string a line break is escaped, so each one that stands here is white space."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ")


def usage_of(usage: Any) -> Usage:
    """Read OpenAI's `usage` object; anything else counts as nothing."""
    if not isinstance(usage, dict):
        return NO_USAGE
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    # Rankings report the total only.
    prompt = "prompt_tokens" if "prompt_tokens" in usage or "completion_tokens" in usage else "total_tokens"
    return Usage(
        count_of(usage, prompt),
        count_of(usage, "completion_tokens"),
        count_of(prompt_details, "cached_tokens") or count_of(usage, "prompt_cache_hit_tokens"),  # DeepSeek's name
        count_of(completion_details, "reasoning_tokens"),
        count_of(prompt_details, "cache_write_tokens"),
        count_of(prompt_details, "cache_write_1h_tokens"),
    )


def count_of(counts: Any, name: str) -> int:
    """Read one count of tokens; 0 for anything that is none."""
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 < value <= MOST_TOKENS else 0
