"""A server with scripted answers, behind `httpx.MockTransport`."""

import json
from collections.abc import Callable
from typing import Any

import httpx

Answer = Callable[[dict[str, Any]], httpx.Response]


class Scripted:
    """Answers chat requests by the `answers` in turn, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: Answer | dict[str, Any] | list[dict[str, Any]]) -> None:
        self._answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of a balancer that asks this server."""
        return {"transport": httpx.MockTransport(self._handle), "enable_health_check": False} | more

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/chat/completions"):
            return httpx.Response(200, json={"object": "list", "data": [{"id": "m"}]})
        body = json.loads(request.content)
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            return answer(body)
        return _streamed(answer) if isinstance(answer, list) else httpx.Response(200, json=answer)


def _streamed(events: list[dict[str, Any]]) -> httpx.Response:
    return event_stream("".join([f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]).encode())


def event_stream(body: bytes) -> httpx.Response:
    """An answer that can be read as a stream, which one with `content` can't."""
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=httpx.ByteStream(body))


def completion(finish_reason: str = "stop", usage: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    """A whole answer."""
    counted = usage or {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    choice = {"index": 0, "message": {"role": "assistant", "content": None} | message, "finish_reason": finish_reason}
    return {"id": "c-1", "object": "chat.completion", "model": "m", "choices": [choice], "usage": counted}


def event(finish_reason: str | None = None, usage: dict[str, Any] | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    """A piece of a streamed answer."""
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage}


def call(arguments: str, name: str | None = "add", id: str | None = "call_1", **more: Any) -> dict[str, Any]:
    """A tool call as the wire has it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} | more
