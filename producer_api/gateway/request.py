"""Reads and validates chat requests; unknown fields pass through to the endpoint."""

from typing import Any

import orjson
from fastapi import Request

from jobs.intake.lines import MAX_DEPTH, is_deep
from producer_api.http.errors import ApiError, Problem
from producer_api.http.json_body import bounded_body, check_brackets

__all__ = ["read_chat_request", "read_object"]

LARGEST_WITHOUT_MEDIA = 10_000_000
"""Bytes: more than any model can read as text."""
MEDIA = (b'"image_url"', b'"input_image"', b'"input_audio"', b'"file"', b'"input_file"', b'"document"')
"""Parts that may be large."""


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body. Raises ApiError (400, 413)."""
    raw = await bounded_body(request)
    check_brackets(raw)
    if len(raw) > LARGEST_WITHOUT_MEDIA:
        _check_large(raw)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        message = f"the body is not valid JSON: {exc.msg} (character {exc.pos})" if raw else "the body is empty"
        raise _refused(message, None, "invalid_json") from None
    if not isinstance(body, dict):
        raise _refused("the body must be a JSON object, sent with Content-Type: application/json", None, "invalid_type")
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and is_deep(body):
        raise _refused(f"the body is nested more than {MAX_DEPTH} levels deep", None, "invalid_value")
    return body


def _check_large(raw: bytes) -> None:
    """Refuse a large request that is all text. Raises ApiError (413)."""
    if not any(mark in raw for mark in MEDIA):
        message = f"a request without images, documents or audio may have {LARGEST_WITHOUT_MEDIA:,} bytes"
        raise ApiError(Problem(413, message, code="request_too_large"))


async def read_chat_request(request: Request) -> dict[str, Any]:
    """Return a chat request. Raises ApiError that names the field."""
    body = await read_object(request)
    messages = body.get("messages")
    if messages is None:
        raise _refused("missing required parameter: messages", "messages", "missing_required_parameter")
    if not isinstance(messages, list) or not messages:
        raise _refused("messages: must be a list of messages that is not empty", "messages", "invalid_type")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _refused(f"messages[{index}]: must be an object", f"messages[{index}]", "invalid_type")
    if not isinstance(body.get("model") or "", str | list):
        raise _refused("model: must be a string", "model", "invalid_type")
    if not isinstance(body.get("stream") or False, bool):
        raise _refused("stream: must be true or false", "stream", "invalid_type")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise _refused("stream_options: must be an object", "stream_options", "invalid_type")
    return body


def _refused(message: str, param: str | None, code: str) -> ApiError:
    return ApiError(Problem(400, message, param=param, code=code))
