"""`/v1/responses`: create, look up and delete responses."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from balancer.fleet.sending import ChatRequest, ChatStream
from balancer.results import ChatChunk, first_choice, first_message
from producer_api.access.callers import CurrentCaller, caller_of
from producer_api.context import Api, ApiContext
from producer_api.gateway.admission import Admitted, admit
from producer_api.gateway.chat import begun, complete, headers, opened, refusal
from producer_api.gateway.documentation import RESPONSES
from producer_api.gateway.event_stream import EventStream
from producer_api.gateway.failures import problem_of
from producer_api.gateway.request import read_object
from producer_api.http.errors import ApiError, Problem
from producer_api.http.openapi import errors
from producer_api.http.rendering import JsonBytes
from producer_api.responses.events import ResponseEvents
from producer_api.responses.items import Message, input_items
from producer_api.responses.objects import new_id, output_items, response_object
from producer_api.responses.request import chat_body
from producer_api.responses.stored import StoredResponses

__all__ = ["router"]

router = APIRouter(tags=["chat"])
_ERRORS = errors(400, 401, 403, 404, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request for a response: what it wants, the messages of those before it, and its id."""

    wanted: Mapping[str, Any]
    earlier: list[Message]
    identifier: str

    @property
    def is_kept(self) -> bool:
        return self.wanted.get("store") is not False


@router.post("/responses", summary="Answer a conversation (OpenAI's Responses API)", response_model=None, **RESPONSES)
async def create_response(request: Request, api: Api) -> Response:
    """Answer `input`, a text or a list of items, after `previous_response_id` if there is one. Unless `store` is false, the
    response is kept for 30 days."""
    wanted = await read_object(request)
    _check(wanted)
    caller = caller_of(request)
    await api.access.check_budget(caller)
    previous = wanted.get("previous_response_id")
    earlier = (await _stored(api).get(previous, caller, "previous_response_id")).messages if previous else []
    turn = _Turn(wanted, earlier, new_id("resp"))
    body = chat_body(wanted, earlier)
    admitted = await admit(api, request, body)
    if wanted.get("stream"):
        return await _streamed(api, request, turn, ChatRequest(body | {"stream": True}, admitted.owner), admitted)
    sent = await complete(api, request, ChatRequest(body, admitted.owner), admitted)
    outcome = sent.answer
    if outcome is None:
        return refusal(sent, admitted)
    raw = outcome.parsed or {}
    output, model = output_items(first_message(raw)), str(raw.get("model") or outcome.model)
    reason = first_choice(raw).get("finish_reason")
    answer = response_object(wanted, turn.identifier, time.time(), model, "completed", output, outcome.usage, reason)
    if turn.is_kept:
        await _stored(api).keep(admitted.owner, earlier, input_items(wanted.get("input")), answer)
    return JsonBytes(answer, headers=headers(sent, admitted))


def _check(wanted: Mapping[str, Any]) -> None:
    for name, kind in (("model", str), ("stream", bool), ("store", bool), ("previous_response_id", str)):
        if wanted.get(name) is not None and not isinstance(wanted[name], kind):
            raise ApiError(Problem(400, f"{name}: has the wrong type", param=name, code="invalid_type"))


def _stored(api: ApiContext) -> StoredResponses:
    return StoredResponses(api.node.objects)


async def _streamed(api: ApiContext, request: Request, turn: _Turn, asked: ChatRequest, admitted: Admitted) -> Response:
    chunks = api.sender.stream(asked)
    first = await opened(request, chunks, admitted)
    if first is None:
        return refusal(chunks.sent, admitted)
    where = {"x-roadbalancer-endpoint": first.endpoint.encode("ascii", "replace").decode()}
    events = await begun(_events(api, turn, first, chunks, admitted))
    return EventStream(events, where | admitted.headers)


async def _events(
    api: ApiContext, turn: _Turn, first: ChatChunk, chunks: ChatStream, admitted: Admitted
) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events of a streamed response, in the order in which OpenAI's clients expect
    them."""
    response = ResponseEvents(turn.wanted, turn.identifier, str(first.model or turn.wanted.get("model") or ""))
    async with admitted:
        try:
            async with aclosing(chunks):
                yield b""
                for event in (*response.opening(), *response.take(first)):
                    yield event
                async for chunk in chunks:
                    for event in response.take(chunk):
                        yield event
        finally:
            admitted.spent(chunks.sent)
        sent = chunks.sent
        if sent.failure is not None:
            yield response.failing(problem_of(sent))
            return
        last = list(response.ending(sent.outcome.usage if sent.outcome else None))
        if turn.is_kept:  # before the client can ask for what follows
            await _stored(api).keep(admitted.owner, turn.earlier, input_items(turn.wanted.get("input")), response.whole)
        for event in last:
            yield event


@router.get("/responses/{response_id}", summary="Look a response up", responses=_ERRORS)
async def get_response(response_id: str, api: Api, caller: CurrentCaller) -> dict[str, Any]:
    """Return a response that is kept."""
    return (await _stored(api).get(response_id, caller)).response


@router.delete("/responses/{response_id}", summary="Delete a response", responses=_ERRORS)
async def delete_response(response_id: str, api: Api, caller: CurrentCaller) -> dict[str, Any]:
    """Delete a response that is kept. Those that followed it stay."""
    await _stored(api).delete(response_id, caller)
    return {"id": response_id, "object": "response.deleted", "deleted": True}


@router.get("/responses/{response_id}/input_items", summary="List the input of a response", responses=_ERRORS)
async def list_input_items(
    response_id: str,
    api: Api,
    caller: CurrentCaller,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """List the items of a response's own input, those behind the item `after`."""
    stored = await _stored(api).get(response_id, caller)
    items = [{"type": "message", **item, "id": item.get("id") or f"item_{number}"} for number, item in enumerate(stored.input)]
    ids = [item["id"] for item in items]
    if order == "desc":
        items, ids = items[::-1], ids[::-1]
    if after is not None and after not in ids:
        raise ApiError(Problem(404, f"no such item: {after[:80]}", param="after", code="not_found"))
    start = 0 if after is None else ids.index(after) + 1
    page = items[start : start + limit]
    more = start + limit < len(items)
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, "has_more": more, **ends}
