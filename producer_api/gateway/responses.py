"""`POST /v1/responses` for text: a chat request under another name."""

import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.results import ChatChunk, first_choice, first_message, text_of
from balancer.sending import ChatRequest
from balancer.trial import Trial
from producer_api.context import Api, ApiContext
from producer_api.errors import ApiError, Problem
from producer_api.gateway.admission import Visit, visit
from producer_api.gateway.chat import begun, headers, opened, refusal
from producer_api.gateway.documentation import RESPONSES
from producer_api.gateway.event_stream import EventStream
from producer_api.gateway.failures import problem_of
from producer_api.gateway.request import read_object
from producer_api.gateway.responses_wire import chat_body, message_item, response_object
from producer_api.rendering import JsonBytes

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
    guest = await visit(api, request, body)
    if wanted.get("stream"):
        return await _streamed(api, wanted, ChatRequest(body | {"stream": True}, guest.owner), guest)
    asked = ChatRequest(body, guest.owner)
    trial = api.sender.trial(asked)
    async with guest:
        outcome = await api.sender.complete(asked, trial)
        guest.spent(trial)
        if outcome is None:
            return refusal(trial, guest)
    raw = outcome.parsed or {}
    answer = response_object(
        wanted,
        _new_id(),
        time.time(),
        str(raw.get("model") or outcome.model),
        "completed",
        [message_item(text_of(first_message(raw).get("content")) or "")],
        outcome.usage,
        first_choice(raw).get("finish_reason"),
    )
    return JsonBytes(answer, headers=headers(trial, guest))


async def _streamed(api: ApiContext, wanted: Mapping[str, Any], asked: ChatRequest, guest: Visit) -> Response:
    trial = api.sender.trial(asked)
    chunks = api.sender.stream(asked, trial)
    first = await opened(chunks, trial, guest)
    if first is None:
        return refusal(trial, guest)
    where = {"x-roadbalancer-endpoint": first.endpoint.encode("ascii", "replace").decode()}
    events = await begun(_events(wanted, first, chunks, trial, guest))
    return EventStream(events, where | guest.headers)


async def _events(
    wanted: Mapping[str, Any], first: ChatChunk, chunks: AsyncGenerator[ChatChunk, None], trial: Trial, guest: Visit
) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events of a streamed response, in the order in which OpenAI's clients expect
    them."""
    telling = _Telling(wanted, str(first.model or wanted.get("model") or ""))
    async with guest:
        try:
            async with aclosing(chunks):
                yield b""
                for event in telling.opening():
                    yield event
                if event := telling.delta(first):
                    yield event
                async for chunk in chunks:
                    if event := telling.delta(chunk):
                        yield event
        finally:
            guest.spent(trial)
        for event in telling.ending(trial):
            yield event


class _Telling:
    """Numbers and words the events of one response."""

    def __init__(self, wanted: Mapping[str, Any], model: str) -> None:
        self._wanted = wanted
        self._model = model
        self._id = _new_id()
        self._item = f"msg_{secrets.token_hex(16)}"
        self._created_at = time.time()
        self._number = 0
        self._text: list[str] = []
        self._finish_reason: str | None = None

    def opening(self) -> list[bytes]:
        response = self._response("in_progress", [])
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
            self._event("response.output_item.added", output_index=0, item=message_item("", "in_progress", self._item)),
            self._event("response.content_part.added", item_id=self._item, output_index=0, content_index=0, part=part),
        ]

    def delta(self, chunk: ChatChunk) -> bytes:
        self._finish_reason = chunk.finish_reason or self._finish_reason
        if not chunk.content:
            return b""
        self._text.append(chunk.content)
        where = {"item_id": self._item, "output_index": 0, "content_index": 0}
        return self._event("response.output_text.delta", **where, delta=chunk.content, logprobs=[])

    def ending(self, trial: Trial) -> list[bytes]:
        if trial.failure is not None:
            problem = problem_of(trial)
            return [self._event("error", code=problem.code, message=problem.message, param=problem.param)]
        text = "".join(self._text)
        item = message_item(text, "completed", self._item)
        where = {"item_id": self._item, "output_index": 0, "content_index": 0}
        usage = trial.outcome.usage if trial.outcome else None
        response = self._response("completed", [item], usage)
        return [
            self._event("response.output_text.done", **where, text=text, logprobs=[]),
            self._event("response.content_part.done", **where, part=item["content"][0]),
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
