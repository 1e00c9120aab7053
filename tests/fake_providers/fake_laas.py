"""Wanted LaaS' preset API, with the liberties that its answers take."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind
from tests.fake_providers.base import KEY, Document, FakeProvider, Image, ReceivedRequest, Refused, Reply, Script, Text, Turn

__all__ = ["FAKE", "HASH", "PROJECT", "LaaSFakeProvider"]

PROJECT = "PROJECT-1"
HASH = "b3f1c0"
HEADERS = {"project": PROJECT, "apikey": KEY, "content-type": "application/json; charset=utf-8"}
FIELDS = {
    "hash": str, "params": dict, "messages": list, "model": str, "service_type": str, "temperature": (int, float),
    "top_p": (int, float), "max_tokens": int, "frequency_penalty": (int, float), "presence_penalty": (int, float),
    "response_format": dict, "source_count": int,
}  # fmt: skip
"""All that it knows, with the JSON types."""
IMAGES = {"data:image/png;base64,": b"\x89PNG\r\n\x1a\n", "data:image/jpeg;base64,": b"\xff\xd8\xff"}
PDF = "data:application/pdf;base64,"


class LaaSFakeProvider(FakeProvider):
    """Takes nothing that the documentation does not name; content comes back as parts, times are in milliseconds."""

    provider = "laas"
    streams = False
    counts = ("prompt", "completion")
    unsupported = {  # noqa: RUF012
        "limits": "stop",
        "tools offered": "tools",
        "two tools called after words": "tools",
        "one tool named": "tools",
        "tools round trip": "tools",
        "JSON schema": "response_format",
    }

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        options = {"project": PROJECT, "hash": HASH, **settings.pop("options", {})}
        return Endpoint(f"{address}/api/preset/v2", provider=self.provider, api_key=KEY, options=options, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        if path != "/api/preset/v2/chat/completions":
            raise Refused(f"no such path: {path}")
        for name, value in HEADERS.items():
            if headers.get(name) != value:
                raise Refused(f"the header {name} is wrong")
        if "authorization" in headers:
            raise Refused("there is no authorization header")
        request = orjson.loads(body)
        _check_fields(request)
        turns = [_turn(message) for message in request.get("messages") or ()]
        return ReceivedRequest(
            model=request.get("model", ""),
            turns=tuple(turn for turn in turns if turn.role != "system"),
            system="\n\n".join(part.text for turn in turns if turn.role == "system" for part in turn.parts),
            max_tokens=request.get("max_tokens"),
            temperature=request.get("temperature"),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        half = len(script.text) // 2
        content = [{"type": "text", "text": piece} for piece in (script.text[:half], script.text[half:])]
        message = {"role": "assistant", "content": content, "tool_calls": []}
        usage = {"prompt_tokens": script.usage.prompt, "completion_tokens": script.usage.completion}
        answer = {
            "id": "laas-1",
            "object": "chat.completion.chunk",
            "created": 1_795_000_000_123,
            "model": received.model or "the-preset's",
            "choices": [{"index": 0, "message": message, "finish_reason": script.ending.value}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
            "connector_results": None,
            "session_id": "s-1",
        }
        return Reply(200, orjson.dumps(answer))

    def fail(self, kind: FailureKind) -> Reply | None:
        if kind not in _FAILURES:
            return None
        status, body = _FAILURES[kind]
        headers = {"content-type": "application/json"} | ({"retry-after": "7"} if status == 429 else {})
        return Reply(status, body if isinstance(body, bytes) else orjson.dumps(body), headers)

    def refuse(self, reason: str) -> Reply:
        if "header" in reason:
            return Reply(401, orjson.dumps({"error": f"Unauthorized: {reason}"}))
        return Reply(400, orjson.dumps({"error": {"message": reason}}))

    def get(self, path: str) -> Reply:
        return Reply(200, b"OK", {"content-type": "text/plain"}) if path == "/health" else Reply(404, b"{}")


_FAILURES: dict[FailureKind, tuple[int, Any]] = {
    FailureKind.RATE_LIMIT: (429, {"message": "this is too much"}),
    FailureKind.OVERLOADED: (503, b"<!DOCTYPE html><html><head><title>503: this is the CDN</title></head></html>"),
    FailureKind.TIMEOUT: (504, b"this is a gateway"),
    FailureKind.BAD_REQUEST: (400, {"error_code": 40065, "error_type": "BAD_PRESET", "message": "this is no preset"}),
    FailureKind.AUTHENTICATION: (401, {"error": "this is a bad key"}),
    FailureKind.SERVER: (500, {"error": {"message": "this is our fault"}}),
}
"""Each in another of the shapes that have been seen."""


def _check_fields(request: Mapping[str, Any]) -> None:
    for name, value in request.items():
        if name not in FIELDS:
            raise Refused(f"no such field: {name}")
        if not isinstance(value, FIELDS[name]):  # type: ignore[arg-type]
            raise Refused(f"the field {name} is of a wrong type")
    if not request.get("hash"):
        raise Refused("no hash")
    if request.get("response_format", {"type": "text"}) not in ({"type": "text"}, {"type": "json_object"}):
        raise Refused("response_format has a type and nothing else")


def _turn(message: Mapping[str, Any]) -> Turn:
    if set(message) != {"role", "content"} or message["role"] not in ("user", "assistant", "system"):
        raise Refused("a message has a role (user, assistant, system) and content")
    content = message["content"]
    parts = [Text(content)] if isinstance(content, str) else [_part(part) for part in content]
    if sum(isinstance(part, Image) for part in parts) > 3:
        raise Refused("more than 3 images in a message")
    return Turn(message["role"], tuple(parts))


def _part(part: Mapping[str, Any]) -> Any:
    match part:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return Text(text)
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest} if not (more or rest):
            return _image(url)
        case {"type": "document", "document_url": {"url": str(url), **more}, **rest} if not (more or rest):
            return _document(url)
    raise Refused(f"no such part: {sorted(part)}")


def _image(url: str) -> Image:
    if url.startswith("https://"):
        return Image(url=url)
    for head, magic in IMAGES.items():
        if url.startswith(head):
            data = url.removeprefix(head)
            image = b64decode(data, validate=True)
            if not image.startswith(magic) or len(image) > 4 * 1024 * 1024:
                raise Refused("an image of another type, or beyond 4 MB")
            return Image(head[5:].partition(";")[0], data)
    raise Refused("an image is JPEG or PNG")


def _document(url: str) -> Document:
    data = url.removeprefix(PDF)
    if data == url or not b64decode(data, validate=True).startswith(b"%PDF-"):
        raise Refused("a document is a PDF in base64")
    return Document("application/pdf", data)


FAKE = LaaSFakeProvider()
