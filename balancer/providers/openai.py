"""OpenAI's wire format, as vLLM and many other servers speak it: bodies pass through untouched.

Only the endpoint's own settings are put in (see `settings`). Unknown fields are forwarded.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.base import Adapter, Answer, Call, StreamFault, Translation
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, unreadable
from balancer.providers.settings import apply_endpoint

__all__ = ["OpenAIAdapter", "one_line", "openai_failure", "usage_of"]

MOST_TOKENS = 2**40
"""A count beyond this is no count."""
END = b"[DONE]"


class OpenAIAdapter(Adapter):
    """OpenAI chat completions, and every server that speaks them."""

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        sent = apply_endpoint(endpoint, body)
        stream = bool(sent.get("stream"))
        if stream:
            # Asked for whatever the user wants, since what it cost is to be known.
            sent = {**sent, "stream_options": {**(sent.get("stream_options") or {}), "include_usage": True}}
        return Call(path, orjson.dumps(sent), sent.get("model") or "", stream)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if status == 200 and isinstance(parsed, dict) and isinstance(parsed.get("choices"), list) and not parsed.get("error"):
            return Answer(one_line(body), usage_of(parsed.get("usage")), parsed=parsed)
        if status == 200:
            return Answer(b"", failure=unreadable(status, body, parsed, "choices"))
        failure = openai_failure(status, headers, parsed, body)
        return Answer(one_line(body) if isinstance(parsed, dict) else b"", failure=failure)

    def translation(self, call: Call) -> Translation:
        return _PassedThrough()


class _PassedThrough(Translation):
    """OpenAI's own chunks."""

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        if data == END:
            self.ended = True
            return ()
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise StreamFault(Failure(FailureKind.INVALID_RESPONSE, "an event of the stream is not JSON")) from None
        if not isinstance(chunk, dict):
            raise StreamFault(Failure(FailureKind.INVALID_RESPONSE, "an event of the stream is no JSON object"))
        if chunk.get("error"):
            message, code = error_of(chunk, data)
            kind = failure_kind(500, code)
            raise StreamFault(Failure(kind, f"an error in the stream: {message}"))
        return (chunk,)


def openai_failure(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> Failure:
    """Return the failure that an OpenAI error body (or anything else that is not a 200) tells of."""
    message, code = error_of(parsed, body)
    return Failure(failure_kind(status, code), f"HTTP {status}: {message}", status, retry_after_seconds(headers))


def one_line(body: bytes) -> bytes:
    """Put JSON on one line. Inside a string a line break is escaped, so each one that stands here is white space."""
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
        _count(prompt_details, "cache_write_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and 0 < value <= MOST_TOKENS else 0
