"""Converts LaaS answers, which deviate from OpenAI's format in places.

Seen, on LaaS or its successor: `object` of a chunk, `created` in milliseconds, content as a list of parts, empty `tool_calls`,
fields of its own beside; errors as `error.message`, `error`, `message` or an HTML page, also with status 200.
"""

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson

from balancer.outcome import Failure, FailureKind
from balancer.providers.base import Answer
from balancer.providers.failures import SHOWN, failure_kind, retry_after_seconds, shown, unreadable, without_keys
from balancer.providers.openai.answers import says_too_long, usage_of
from balancer.providers.openai.choices import wrong_in
from balancer.providers.shapes import completion, tool_call
from balancer.results import text_of

__all__ = ["laas_answer"]

_ENDINGS = frozenset({"stop", "length", "tool_calls", "content_filter"})
MILLISECONDS_FROM = 10**11
"""A time beyond this is in milliseconds: as seconds it would be the year 5138."""
_TITLE = re.compile(rb"<title[^>]{0,100}>([^<]{1,200})</title", re.IGNORECASE)


def laas_answer(model: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read a whole answer, whatever it is. `model` is the one that was asked for, if any; never raises."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if status != 200:
        message, code = _said(parsed, body)
        kind = _kind(status, code, message)
        failure = Failure(kind, f"HTTP {status}: {message}", status, retry_after_seconds(headers))
        return Answer(_error_body(failure, code), failure=failure)
    made = _completion(parsed, model) if isinstance(parsed, dict) and not parsed.get("error") else None
    if made is None:
        return Answer(b"", failure=_failed_with_200(parsed, body))
    usage = usage_of(made.get("usage"))
    return Answer(orjson.dumps(made), usage, parsed=made)


def _completion(parsed: Mapping[str, Any], model: str) -> dict[str, Any] | None:
    """Return a clean OpenAI completion; None if there is no answer in it."""
    found = parsed.get("choices")
    choices = [_choice(choice) for choice in found] if isinstance(found, list) else []
    whole = [choice for choice in choices if choice is not None]
    if not whole or len(whole) < len(choices):
        return None
    identifier = parsed.get("id") or f"chatcmpl-{uuid4().hex}"
    made = completion(str(identifier), str(parsed.get("model") or model), whole, usage_of(parsed.get("usage")))
    made["created"] = _seconds(parsed.get("created"))
    if not isinstance(parsed.get("usage"), dict):
        del made["usage"]
    return made


def _choice(choice: Any) -> dict[str, Any] | None:
    if wrong_in(choice, "message"):
        return None
    message = choice["message"]
    made: dict[str, Any] = {"role": "assistant", "content": text_of(message.get("content")), "refusal": None}
    if calls := message.get("tool_calls"):
        made["tool_calls"] = [_tool_call(call) for call in calls]
    ending = choice.get("finish_reason")
    return {"message": made, "finish_reason": ending if ending in _ENDINGS else "stop"}


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call that the preset's own tools have led to."""
    function = call.get("function")
    if function is None:  # OpenAI's custom tools, which have no JSON arguments
        return dict(call)
    identifier = call.get("id") or f"call_{uuid4().hex}"
    return tool_call(str(identifier), function["name"], function["arguments"])


def _seconds(created: Any) -> int:
    if not isinstance(created, int | float) or created <= 0:
        return int(time.time())
    return int(created // 1000 if created >= MILLISECONDS_FROM else created)


def _failed_with_200(parsed: Any, body: bytes) -> Failure:
    """Say what is wrong with a 200 that holds no answer: what it says itself, if it says something."""
    if not isinstance(parsed, dict) or not (parsed.get("error") or ("choices" not in parsed and parsed.get("message"))):
        return unreadable(200, body, parsed, "choices")
    message, code = _said(parsed, body)
    status = _status_inside(parsed)
    kind = _kind(status or 400, code, message)
    if status is None and kind is FailureKind.BAD_REQUEST:  # nothing but words
        kind = FailureKind.INVALID_RESPONSE
    return Failure(kind, f"an error in a 200 answer: {message}", status or 200)


def _kind(status: int, code: str | None, message: str) -> FailureKind:
    kind = failure_kind(status, code)
    return FailureKind.CONTEXT_TOO_LONG if kind is FailureKind.BAD_REQUEST and says_too_long(message) else kind


def _status_inside(parsed: Mapping[str, Any]) -> int | None:
    error = parsed.get("error")
    places = (error if isinstance(error, dict) else {}, parsed)
    values = [place.get(name) for place in places for name in ("status", "statusCode", "status_code", "code")]
    numbers = [int(value) for value in values if isinstance(value, int | str) and str(value).isdecimal()]
    return next((number for number in numbers if 400 <= number < 600), None)


def _said(parsed: Any, body: bytes) -> tuple[str, str | None]:
    """Return an error's words, and its code or type: `error.message`, else `error` and `message`, else the raw text."""
    if not isinstance(parsed, dict):
        return _raw(body), None
    error = parsed.get("error")
    if isinstance(error, dict):
        words, place = _words(error.get("message") or error.get("detail")), error
    else:
        words, place = ": ".join(filter(None, (_words(error), _words(parsed.get("message"))))), parsed
    codes = (place.get(name) for name in ("code", "type", "error_type", "error_code"))
    code = next((str(code) for code in codes if code), None)
    # A key is looked for before the end is cut off: half of one might not look like one.
    return without_keys(words)[:SHOWN] or _raw(body), code


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


def _raw(body: bytes) -> str:
    if not body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return shown(body)
    title = _TITLE.search(body)
    return f"an HTML page: {shown(title[1])}" if title else "an HTML page"


def _error_body(failure: Failure, code: str | None) -> bytes:
    return orjson.dumps({"error": {"message": failure.message, "type": failure.kind.value, "param": None, "code": code}})
