"""Converts Converse's answers and errors to OpenAI's format."""

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.anthropic.answers import Malformed, member
from balancer.providers.base import Answer, Call
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds, unreadable
from balancer.providers.shapes import assistant_message, completion, tool_call

__all__ = ["answer_of", "finish_reason_of", "kind_of_error", "tier_of_answer", "usage_of"]

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_MALFORMED = ("malformed_model_output", "malformed_tool_use")
"""Reasons why an answer ended that make it none."""
_BY_TYPE = {
    "AccessDeniedException": FailureKind.AUTHENTICATION,
    "UnrecognizedClientException": FailureKind.AUTHENTICATION,
    "ExpiredTokenException": FailureKind.AUTHENTICATION,
    "InvalidSignatureException": FailureKind.AUTHENTICATION,
    "ResourceNotFoundException": FailureKind.MODEL_NOT_FOUND,
    "ThrottlingException": FailureKind.RATE_LIMIT,
    "ServiceQuotaExceededException": FailureKind.RATE_LIMIT,
    "ModelNotReadyException": FailureKind.OVERLOADED,
    "ModelTimeoutException": FailureKind.TIMEOUT,
    "ModelErrorException": FailureKind.SERVER,
    "ModelStreamErrorException": FailureKind.SERVER,
    "InternalServerException": FailureKind.SERVER,
    "ServiceUnavailableException": FailureKind.OVERLOADED,
    "ValidationException": FailureKind.BAD_REQUEST,
}
_BY_WORDS = (
    (re.compile("too long|too many (?:input )?tokens|maximum context", re.IGNORECASE), FailureKind.CONTEXT_TOO_LONG),
    (re.compile("model identifier is invalid", re.IGNORECASE), FailureKind.MODEL_NOT_FOUND),
)
"""What the message of a ValidationException says."""
_MOST_TOKENS = 2**40


def answer_of(call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Translate an answer; never raises."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if status != 200:
        return _failed(status, headers, parsed, body)
    try:
        made, usage = _completion(parsed, call.model)
        return Answer(orjson.dumps(made), usage, parsed=made)
    except Malformed as exc:
        return Answer(b"", failure=unreadable(status, body, parsed, str(exc)))
    except orjson.JSONEncodeError:  # what could be read is nested more deeply than what can be written
        return Answer(b"", failure=unreadable(status, body, parsed, "content"))


def _completion(parsed: Any, model: str) -> tuple[dict[str, Any], Usage]:
    message = member(member(parsed, "output", dict), "message", dict, "output.")
    made = _message(member(message, "content", list, "output.message."))
    reason = member(parsed, "stopReason", str)
    if reason in _MALFORMED:
        raise Malformed(f"stopReason` other than `{reason}")
    usage = usage_of(parsed.get("usage"))
    choice = {"message": made, "finish_reason": finish_reason_of(reason, "tool_calls" in made)}
    whole = completion(f"chatcmpl-{uuid.uuid4().hex}", model, [choice], usage)
    tier = tier_of_answer(parsed)
    return (whole | {"service_tier": tier} if tier else whole), usage


def tier_of_answer(owner: Mapping[str, Any]) -> str:
    """Return the service tier that an answer names, "" if none."""
    tier = owner.get("serviceTier")
    kind = tier.get("type") if isinstance(tier, dict) else None
    return kind if isinstance(kind, str) else ""


def _message(content: Sequence[Any]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    thinking: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(content):
        place = f"content[{index}]."
        if not isinstance(block, dict):
            raise Malformed(place.rstrip("."))
        if "text" in block:
            texts.append(member(block, "text", str, place))
        elif "toolUse" in block:
            calls.append(_call(block["toolUse"], f"{place}toolUse."))
        elif "reasoningContent" in block:
            thought = _thought(block["reasoningContent"], f"{place}reasoningContent.")
            thinking.append(thought)
            thoughts.append(thought.get("thinking", ""))
        elif "citationsContent" in block:
            parts = member(block["citationsContent"], "content", list, f"{place}citationsContent.")
            texts += [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return assistant_message("".join(texts), calls, "".join(thoughts) or None, thinking)


def _call(use: Any, place: str) -> dict[str, Any]:
    arguments = orjson.dumps(member(use, "input", dict, place)).decode()
    return tool_call(member(use, "toolUseId", str, place), member(use, "name", str, place), arguments)


def _thought(block: Any, place: str) -> dict[str, Any]:
    """Return a block of thinking as the request has it that sends it back."""
    if isinstance(block, dict) and "redactedContent" in block:
        return {"type": "redacted_thinking", "data": member(block, "redactedContent", str, place)}
    text = member(block, "reasoningText", dict, place)
    signature = text.get("signature")
    thought = {"type": "thinking", "thinking": member(text, "text", str, f"{place}reasoningText.")}
    return {**thought, "signature": signature if isinstance(signature, str) else ""}


def finish_reason_of(reason: Any, has_calls: bool) -> str:
    """Return OpenAI's word for why an answer ended. An unknown reason counts as an ordinary end."""
    known = _FINISH_REASONS.get(reason) if isinstance(reason, str) else None
    return known or ("tool_calls" if has_calls else "stop")


def usage_of(usage: Any) -> Usage:
    """Read `usage`. Its input tokens are without those that the cache took or gave; OpenAI's prompt is with both."""
    if not isinstance(usage, dict):
        return NO_USAGE
    written, cached = _count(usage, "cacheWriteInputTokens"), _count(usage, "cacheReadInputTokens")
    found = usage.get("cacheDetails")
    details = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    hour = sum(_count(each, "inputTokens") for each in details if each.get("ttl") == "1h")
    prompt = _count(usage, "inputTokens") + written + cached
    return Usage(prompt, _count(usage, "outputTokens"), cached, 0, written, min(written, hour))


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int and 0 < value <= _MOST_TOKENS else 0


def _failed(status: int, headers: Mapping[str, str], parsed: Any, body: bytes) -> Answer:
    named = headers.get("x-amzn-errortype", "").partition(":")[0]
    message = _message_of(parsed) or error_of(parsed, body)[0]
    kind = kind_of_error(named, message, status)
    failure = Failure(kind, f"HTTP {status}: {message}", status, retry_after_seconds(headers))
    if not isinstance(parsed, dict):
        return Answer(b"", failure=failure)
    error = {"message": message, "type": named or None, "param": None, "code": kind.value}
    return Answer(orjson.dumps({"error": error}), failure=failure)


def _message_of(parsed: Any) -> str:
    found = parsed.get("message") or parsed.get("Message") if isinstance(parsed, dict) else None
    return found[:300] if isinstance(found, str) else ""


def kind_of_error(named: str, message: str, status: int) -> FailureKind:
    """Say what an error means; `named` is the exception's name."""
    if named == "ValidationException" or (not named and status == 400):
        return next((kind for words, kind in _BY_WORDS if words.search(message)), FailureKind.BAD_REQUEST)
    return _BY_TYPE.get(named) or failure_kind(status)
