"""`POST /v1/responses` for text, served by chat requests."""

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.fleet.sending import ChatRequest, ChatStream
from balancer.fleet.sent import Sent
from balancer.results import ChatChunk, first_choice, first_message
from producer_api.context import Api, ApiContext
from producer_api.gateway.admission import Admitted, admit
from producer_api.gateway.chat import begun, complete, headers, opened, refusal
from producer_api.gateway.documentation import RESPONSES
from producer_api.gateway.event_stream import EventStream
from producer_api.gateway.failures import problem_of
from producer_api.gateway.request import read_object
from producer_api.gateway.responses_wire import chat_body, message_item, message_parts, refusal_part, response_object, text_part
from producer_api.http.errors import ApiError, Problem
from producer_api.http.rendering import JsonBytes

__all__ = ["router"]

router = APIRouter(tags=["chat"])


@router.post("/responses", summary="Answer a text (OpenAI's Responses API)", response_model=None, **RESPONSES)
async def create_response(request: Request, api: Api) -> Response:
    """Answer `input`, a text or a list of messages. Nothing is stored, so there is no `previous_response_id`."""
    wanted = await read_object(request)
    if not isinstance(wanted.get("model") or "", str) or not isinstance(wanted.get("stream") or False, bool):
        wrong = "model" if not isinstance(wanted.get("model") or "", str) else "stream"
        raise ApiError(Problem(400, f"{wrong}: has the wrong type", param=wrong, code="invalid_type"))
    body = chat_body(wanted)
    admitted = await admit(api, request, body)
    if wanted.get("stream"):
        return await _streamed(api, request, wanted, ChatRequest(body | {"stream": True}, admitted.owner), admitted)
    sent = await complete(api, request, ChatRequest(body, admitted.owner), admitted)
    outcome = sent.answer
    if outcome is None:
        return refusal(sent, admitted)
    raw = outcome.parsed or {}
    answer = response_object(
        wanted,
        _new_id(),
        time.time(),
        str(raw.get("model") or outcome.model),
        "completed",
        [message_item(message_parts(first_message(raw)))],
        outcome.usage,
        first_choice(raw).get("finish_reason"),
    )
    return JsonBytes(answer, headers=headers(sent, admitted))


async def _streamed(
    api: ApiContext, request: Request, wanted: Mapping[str, Any], asked: ChatRequest, admitted: Admitted
) -> Response:
    chunks = api.sender.stream(asked)
    first = await opened(request, chunks, admitted)
    if first is None:
        return refusal(chunks.sent, admitted)
    where = {"x-roadbalancer-endpoint": first.endpoint.encode("ascii", "replace").decode()}
    events = await begun(_events(wanted, first, chunks, admitted))
    return EventStream(events, where | admitted.headers)


async def _events(
    wanted: Mapping[str, Any], first: ChatChunk, chunks: ChatStream, admitted: Admitted
) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events of a streamed response, in the order in which OpenAI's clients expect
    them."""
    telling = _Telling(wanted, str(first.model or wanted.get("model") or ""))
    async with admitted:
        try:
            async with aclosing(chunks):
                yield b""
                for event in telling.opening():
                    yield event
                for event in telling.deltas(first):
                    yield event
                async for chunk in chunks:
                    for event in telling.deltas(chunk):
                        yield event
        finally:
            admitted.spent(chunks.sent)
        for event in telling.ending(chunks.sent):
            yield event


class _Part:
    """One part of the message that is being streamed. `field` is what holds its text, `kind` what its events are called after."""

    def __init__(self, index: int, kind: str, field: str, make: Callable[[str], dict[str, Any]]) -> None:
        self.index = index
        self.kind = kind
        self.field = field
        self.make = make
        self.texts: list[str] = []

    @property
    def whole(self) -> str:
        return "".join(self.texts)


class _Telling:
    """Numbers and words the events of one response."""

    def __init__(self, wanted: Mapping[str, Any], model: str) -> None:
        self._wanted = wanted
        self._model = model
        self._id = _new_id()
        self._item = f"msg_{secrets.token_hex(16)}"
        self._created_at = time.time()
        self._number = 0
        self._parts: dict[str, _Part] = {}
        self._finish_reason: str | None = None

    def opening(self) -> list[bytes]:
        response = self._response("in_progress", [])
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event("response.output_item.added", output_index=0, item=message_item([], "in_progress", self._item)),
        ]

    def deltas(self, chunk: ChatChunk) -> list[bytes]:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        events = self._say("output_text", chunk.content) if chunk.content else []
        delta = first_choice(chunk.raw).get("delta")
        refusal = delta.get("refusal") if isinstance(delta, dict) else None
        return events + self._say("refusal", refusal) if isinstance(refusal, str) and refusal else events

    def _say(self, kind: str, text: str) -> list[bytes]:
        part, events = self._part(kind)
        part.texts.append(text)
        more: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
        return [*events, self._event(f"response.{kind}.delta", **self._place(part), delta=text, **more)]

    def _part(self, kind: str) -> tuple[_Part, list[bytes]]:
        """Return the part of a kind, and the event of its beginning if it begins now."""
        if kind in self._parts:
            return self._parts[kind], []
        field, make = ("text", text_part) if kind == "output_text" else ("refusal", refusal_part)
        part = self._parts[kind] = _Part(len(self._parts), kind, field, make)
        return part, [self._event("response.content_part.added", **self._place(part), part=make(""))]

    def _place(self, part: _Part) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": part.index}

    def ending(self, sent: Sent) -> list[bytes]:
        if sent.failure is not None:
            problem = problem_of(sent)
            return [self._event("error", code=problem.code, message=problem.message, param=problem.param)]
        events = [] if self._parts else self._part("output_text")[1]
        for part in self._parts.values():
            more: dict[str, Any] = {"logprobs": []} if part.kind == "output_text" else {}
            events.append(self._event(f"response.{part.kind}.done", **self._place(part), **{part.field: part.whole}, **more))
            events.append(self._event("response.content_part.done", **self._place(part), part=part.make(part.whole)))
        item = message_item([part.make(part.whole) for part in self._parts.values()], "completed", self._item)
        response = self._response("completed", [item], sent.outcome.usage if sent.outcome else None)
        return [
            *events,
            self._event("response.output_item.done", output_index=0, item=item),
            self._event(f"response.{response['status']}", response=response),
        ]

    def _response(self, status: str, output: list[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        return response_object(self._wanted, self._id, self._created_at, self._model, status, output, usage, self._finish_reason)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _new_id() -> str:
    return f"resp_{secrets.token_hex(24)}"
