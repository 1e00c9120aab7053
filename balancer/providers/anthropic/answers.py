"""Converts Anthropic's answers and errors to OpenAI's format."""

from collections.abc import Mapping
from typing import Any, TypeVar

import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.base import Answer, Call
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, unreadable
from balancer.providers.shapes import assistant_message, cited, completion, tool_call

__all__ = [
    "Malformed",
    "answer_of",
    "anthropic_failure_kind",
    "anthropic_usage",
    "citations_in",
    "finish_reason_of",
    "member",
]

THINKING = ("thinking", "redacted_thinking")
"""Kinds of blocks that show a model's thinking."""
MOST_TOKENS = 2**40
"""A count beyond this is no count."""
_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_BY_TYPE = {
    "invalid_request_error": FailureKind.BAD_REQUEST,
    "authentication_error": FailureKind.AUTHENTICATION,
    "billing_error": FailureKind.QUOTA,
    "permission_error": FailureKind.AUTHENTICATION,
    "not_found_error": FailureKind.MODEL_NOT_FOUND,
    "conflict_error": FailureKind.SERVER,
    "request_too_large": FailureKind.CONTEXT_TOO_LONG,
    "rate_limit_error": FailureKind.RATE_LIMIT,
    "api_error": FailureKind.SERVER,
    "timeout_error": FailureKind.TIMEOUT,
    "overloaded_error": FailureKind.OVERLOADED,
}
"""Error types as documented. One that is not here goes by its status."""
_BY_WORDS = (
    ("prompt is too long", FailureKind.CONTEXT_TOO_LONG),
    ("exceed context limit", FailureKind.CONTEXT_TOO_LONG),
    ("credit balance", FailureKind.QUOTA),
    ("usage limits", FailureKind.QUOTA),
    ("spend limit", FailureKind.QUOTA),
    ("content filtering policy", FailureKind.CONTENT_FILTER),
)
"""What the message of an `invalid_request_error` tells; nothing else in it does."""
_SPEND_LIMIT = "spend_limit_reached"
"""The end of `error.details.error_code` where money, not pace, is the limit."""

T = TypeVar("T")


class Malformed(ValueError):
    """An answer lacks something, or has it in the wrong type; `str()` is the place, such as `content[0].text`."""


def answer_of(call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Translate an answer, whatever it is; never raises."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if status != 200:
        return _failed(status, headers, parsed, body)
    try:
        made, usage = _completion(call, parsed)
        return Answer(orjson.dumps(made), usage, parsed=made)
    except Malformed as exc:
        return Answer(b"", failure=unreadable(status, body, parsed, str(exc)))
    except orjson.JSONEncodeError:  # what could be read is nested more deeply than what can be written
        return Answer(b"", failure=unreadable(status, body, parsed, "content"))


def _completion(call: Call, parsed: Any) -> tuple[dict[str, Any], Usage]:
    message = _message(member(parsed, "content", list))
    details = parsed.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    message["refusal"] = explanation if isinstance(explanation, str) else None
    finish_reason = finish_reason_of(parsed.get("stop_reason"), "tool_calls" in message)
    usage = anthropic_usage(parsed.get("usage"))
    model = parsed.get("model")
    choice = {"message": message, "finish_reason": finish_reason}
    return completion(member(parsed, "id", str), model if isinstance(model, str) else call.model, [choice], usage), usage


def _message(content: list[Any]) -> dict[str, Any]:
    """Put the blocks of an answer together; kinds that OpenAI has no place for are passed over."""
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    calls, thinking, citations, length = [], [], [], 0
    for index, block in enumerate(content):
        place = f"content[{index}]."
        kind = member(block, "type", str, place)
        if kind in THINKING:
            thinking.append(block)
        if kind in texts:
            texts[kind].append(text := member(block, kind, str, place))
            if kind == "text":
                start, length = length, length + len(text)
                citations += [cited(each, start, length) for each in citations_in(block)]
        elif kind == "tool_use":
            arguments = orjson.dumps(member(block, "input", dict, place)).decode()
            calls.append(tool_call(member(block, "id", str, place), member(block, "name", str, place), arguments))
    reasoning = "".join(texts["thinking"]) if texts["thinking"] else None
    return assistant_message("".join(texts["text"]), calls, reasoning, thinking, citations)


def citations_in(block: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the citations of a block of text; anything else than objects counts as none."""
    found = block.get("citations")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def finish_reason_of(stop_reason: Any, has_calls: bool) -> str:
    """Return OpenAI's word for why an answer ended. An unknown reason counts as an ordinary end."""
    known = _FINISH_REASONS.get(stop_reason) if isinstance(stop_reason, str) else None
    return known or ("tool_calls" if has_calls else "stop")


def anthropic_usage(usage: Any) -> Usage:
    """Read `usage`. Anthropic's input tokens are without those that the cache took or gave; OpenAI's prompt is with both."""
    if not isinstance(usage, dict):
        return NO_USAGE
    written = _count(usage, "cache_creation_input_tokens")
    cached = _count(usage, "cache_read_input_tokens")
    return Usage(
        _count(usage, "input_tokens") + written + cached,
        _count(usage, "output_tokens"),
        cached,
        _count(usage.get("output_tokens_details"), "thinking_tokens"),
        written,
        min(written, _count(usage.get("cache_creation"), "ephemeral_1h_input_tokens")),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if type(value) is int and 0 < value <= MOST_TOKENS else 0


def _failed(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> Answer:
    message, code = error_of(parsed, body)
    kind = anthropic_failure_kind(status, parsed, message, code)
    failure = Failure(kind, f"HTTP {status}: {message}", status, retry_after_seconds(headers))
    if not isinstance(parsed, dict):
        return Answer(b"", failure=failure)
    return Answer(orjson.dumps({"error": {"message": message, "type": code, "param": None, "code": kind.value}}), failure=failure)


def anthropic_failure_kind(status: int, parsed: Any, message: str, code: str | None) -> FailureKind:
    """Say what an error means. `message` and `code` are what `error_of` read in it: Anthropic's `code` is the error's type."""
    error = parsed.get("error") if isinstance(parsed, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    error_code = details.get("error_code") if isinstance(details, dict) else None
    if isinstance(error_code, str) and error_code.endswith(_SPEND_LIMIT):
        return FailureKind.QUOTA
    if code == "invalid_request_error":
        lowered = message.lower()
        kind_by_words = next((kind for words, kind in _BY_WORDS if words in lowered), None)
        if kind_by_words:
            return kind_by_words
    if status == 413:  # a proxy in front may say so in words of its own
        return FailureKind.CONTEXT_TOO_LONG
    return _BY_TYPE.get(code or "") or failure_kind(status, code)


def member(owner: Any, name: str, kind: type[T], place: str = "") -> T:
    """Return `owner[name]` if it is of a kind. Raises Malformed; `place` is the owner's, ending in a dot."""
    value = owner.get(name) if isinstance(owner, dict) else None
    if not isinstance(value, kind):
        raise Malformed(f"{place}{name}")
    return value
