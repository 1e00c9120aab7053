"""OpenAI's Responses API behind the chat format: the whole request and answer.

The request is made in `responses_request`, streams are read in `responses_stream`. In an answer, texts of message items are
joined, function calls become tool calls, and what the model lets be seen of its reasoning goes into `reasoning_content`; items of
other kinds are passed over. The wire format is that of `openai.types.responses` (openai 3.52).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.errors import BalancerError
from balancer.outcome import Failure, FailureKind, Usage, tier_of
from balancer.providers.base import Answer, Call
from balancer.providers.failures import error_of, failure_kind, unreadable
from balancer.providers.openai.answers import count_of, error_answer, says_too_long
from balancer.providers.responses.request import responses_request
from balancer.providers.shapes import completion, tool_call

__all__ = [
    "finish_reason",
    "is_responses_call",
    "response_failure",
    "responses_answer",
    "responses_call",
    "responses_usage",
]

_PATH = "/responses"
_ENDINGS = {"content_filter": "content_filter"}
"""Why an answer is incomplete -> why a choice ends; all others mean that it was cut off."""
_KIND_OF_CODE = {
    "server_error": FailureKind.SERVER,
    "rate_limit_exceeded": FailureKind.RATE_LIMIT,
    "server_is_overloaded": FailureKind.OVERLOADED,
    "vector_store_timeout": FailureKind.TIMEOUT,
    "bio_policy": FailureKind.CONTENT_FILTER,
    "misalignment_policy_violation": FailureKind.CONTENT_FILTER,
    "image_content_policy_violation": FailureKind.CONTENT_FILTER,
    "data_residency_mismatch": FailureKind.UNSUPPORTED,
}
"""What the code of a failed response means."""
_ABOUT_THE_REQUEST = ("invalid_", "image_", "unsupported_", "empty_image", "failed_to_download")
"""How the codes begin that say that the request is at fault."""


class _Odd(BalancerError):
    """An answer isn't what the wire format says; `str()` says where."""


def responses_call(endpoint: Endpoint, body: Mapping[str, Any]) -> Call:
    """Return the call that asks the Responses API for a chat's answer. Raises RequestRefused."""
    asked = responses_request(endpoint, body)
    return Call(_PATH, orjson.dumps(asked), asked.get("model") or "", "stream" in asked, {"api": "responses"})


def is_responses_call(call: Call) -> bool:
    """Whether the answer to a call comes from the Responses API and has to be translated."""
    return bool(call.notes) and call.notes.get("api") == "responses"


def responses_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Translate an answer of the Responses API, whatever it is."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if status != 200:
        handed_on, failure = error_answer(status, headers, parsed, body)
        return Answer(handed_on, failure=failure)
    if isinstance(parsed, dict) and parsed.get("status") in ("failed", "cancelled"):
        return Answer(b"", failure=response_failure(parsed, body, status))
    if not isinstance(parsed, dict) or parsed.get("error") or not isinstance(parsed.get("output"), list):
        return Answer(b"", failure=unreadable(status, body, parsed, "output"))
    try:
        made = _completion(parsed)
    except _Odd as exc:
        failure = Failure(FailureKind.INVALID_RESPONSE, f"a 200 answer in which {exc} ({len(body)} bytes)", status)
        return Answer(b"", failure=failure)
    return Answer(orjson.dumps(made), responses_usage(parsed.get("usage")), parsed=made)


def response_failure(response: Mapping[str, Any], body: bytes, status: int | None = None) -> Failure:
    """Return the failure of a response whose status is `failed` (or `cancelled`), or of an `error` event."""
    if not response.get("error") and "status" in response:
        return Failure(FailureKind.SERVER, f"the response was given up: its status is {response['status']!r}"[:200], status)
    message, code = error_of(response, body)
    return Failure(_kind_of(code, message), f"the response failed: {message}", status)


def _kind_of(code: str | None, message: str) -> FailureKind:
    if code in _KIND_OF_CODE:
        return _KIND_OF_CODE[code]
    status = 400 if code is not None and code.startswith(_ABOUT_THE_REQUEST) else 500
    kind = failure_kind(status, code)
    return FailureKind.CONTEXT_TOO_LONG if kind is FailureKind.BAD_REQUEST and says_too_long(message) else kind


def responses_usage(usage: Any) -> Usage:
    """Read the `usage` of a response; anything else counts as nothing."""
    details = usage if isinstance(usage, dict) else {}
    return Usage(
        count_of(usage, "input_tokens"),
        count_of(usage, "output_tokens"),
        count_of(details.get("input_tokens_details"), "cached_tokens"),
        count_of(details.get("output_tokens_details"), "reasoning_tokens"),
        count_of(details.get("input_tokens_details"), "cache_write_tokens"),
    )


def finish_reason(response: Mapping[str, Any], called: bool) -> str:
    """Say in OpenAI's chat words why a response ended; `called` is whether it has a tool call."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return _ENDINGS.get(reason, "length") if isinstance(reason, str) else "length"
    return "tool_calls" if called else "stop"


def _completion(response: Mapping[str, Any]) -> dict[str, Any]:
    if response.get("status") not in ("completed", "incomplete", None):
        raise _Odd(f"`status` is neither `completed` nor `incomplete` but {response['status']!r}"[:200])
    items = [_object(item, f"output[{n}]") for n, item in enumerate(response["output"])]
    parts = [part for item in items if item.get("type") == "message" for part in _objects(item, "content")]
    calls = [_call(item) for item in items if item.get("type") == "function_call"]
    texts = _texts(parts, "output_text", "text")
    refusals = _texts(parts, "refusal", "refusal")
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": None}
    if refusals:
        message["refusal"] = "".join(refusals)
    if reasoning := [text for item in items if item.get("type") == "reasoning" for text in _reasoning(item)]:
        message["reasoning_content"] = "\n\n".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    choice = {"message": message, "finish_reason": finish_reason(response, bool(calls))}
    identifier, model = response.get("id"), response.get("model")
    usage = responses_usage(response.get("usage"))
    made = completion(identifier if isinstance(identifier, str) else "", model if isinstance(model, str) else "", [choice], usage)
    return made | ({"service_tier": tier} if (tier := tier_of(response)) else {})


def _reasoning(item: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        if item.get(name) is not None:
            yield from _texts(_objects(item, name), kind, "text")


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    identifier, name, arguments = (item.get(field) for field in ("call_id", "name", "arguments"))
    if not (isinstance(identifier, str) and isinstance(name, str) and isinstance(arguments, str)):
        raise _Odd("a function call lacks `call_id`, `name` or `arguments`")
    return tool_call(identifier, name, arguments)


def _objects(holder: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = holder.get(name)
    if not isinstance(found, list):
        raise _Odd(f"`{name}` of an item is no list")
    return [_object(each, name) for each in found]


def _object(found: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise _Odd(f"`{place}` is no object")
    return found


def _texts(parts: Sequence[Mapping[str, Any]], kind: str, name: str) -> list[str]:
    texts = [part.get(name) for part in parts if part.get("type") == kind]
    if not all(isinstance(text, str) for text in texts):
        raise _Odd(f"`{name}` of a part is no text")
    return [text for text in texts if isinstance(text, str)]
