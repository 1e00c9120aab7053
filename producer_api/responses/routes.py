"""`/v1/responses`: create, look up and delete responses."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from redis.exceptions import RedisError
from starlette.responses import Response

from balancer.fleet.model_request import ModelRequest
from balancer.results import ChatChunk, first_choice, first_message
from jobs.storage.object_store import ObjectStoreError, store_problem
from producer_api.access.callers import CurrentCaller, caller_of
from producer_api.context import Api, ApiContext
from producer_api.gateway.admission import Admitted, admit
from producer_api.gateway.chat import complete, headers, refusal
from producer_api.gateway.converted_stream import converted_stream
from producer_api.gateway.documentation import RESPONSES
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
log = logging.getLogger(__name__)
_ERRORS = errors(400, 401, 403, 404, 429, 500, 503)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request, the messages of previous responses, and the id of the new response."""

    parameters: Mapping[str, Any]
    earlier: list[Message]
    identifier: str


@router.post("/responses", summary="Answer a conversation (OpenAI's Responses API)", response_model=None, **RESPONSES)
async def create_response(request: Request, api: Api) -> Response:
    """Answer `input`, a text or a list of items, as a continuation of `previous_response_id` if it is given. Unless `store` is
    false, the response is stored for 30 days."""
    parameters = await read_object(request)
    _check(parameters)
    caller = caller_of(request)
    await api.access.check_budget(caller)
    previous = parameters.get("previous_response_id")
    earlier = (await _stored(api).get(previous, caller, "previous_response_id")).messages if previous else []
    turn = _Turn(parameters, earlier, new_id("resp"))
    body = chat_body(parameters, earlier)
    admitted = await admit(api, request, body)
    if parameters.get("stream"):
        return await _streamed(api, request, turn, ModelRequest(body | {"stream": True}, admitted.owner), admitted)
    sent = await complete(api, request, ModelRequest(body, admitted.owner, on_abandoned=admitted.spent), admitted)
    outcome = sent.answer
    if outcome is None:
        return refusal(sent, admitted)
    raw = outcome.parsed or {}
    output, model = output_items(first_message(raw)), str(raw.get("model") or outcome.model)
    reason = first_choice(raw).get("finish_reason")
    answer = response_object(parameters, turn.identifier, time.time(), model, "completed", output, outcome.usage, reason)
    await _save(api, turn, admitted.owner, answer)
    return JsonBytes(answer, headers=headers(sent, admitted))


def _check(parameters: Mapping[str, Any]) -> None:
    for name, kind in (("model", str), ("stream", bool), ("store", bool), ("previous_response_id", str)):
        if parameters.get(name) is not None and not isinstance(parameters[name], kind):
            raise ApiError(Problem(400, f"{name}: has the wrong type", param=name, code="invalid_type"))


async def _save(api: ApiContext, turn: _Turn, owner: str, response: Mapping[str, Any]) -> None:
    """Store a response, if it is to be stored. The answer has been paid for: if the store fails, it is returned all the same."""
    if turn.parameters.get("store") is False:
        return
    try:
        await _stored(api).save(owner, turn.earlier, input_items(turn.parameters.get("input")), response)
    except (ObjectStoreError, OSError, RedisError) as exc:
        problem = f"Redis is unavailable ({exc})" if isinstance(exc, RedisError) else store_problem(exc)
        log.error("response %s is not stored: %s", turn.identifier, problem)


def _stored(api: ApiContext) -> StoredResponses:
    return StoredResponses(api.node.redis, api.node.objects)


async def _streamed(api: ApiContext, request: Request, turn: _Turn, asked: ModelRequest, admitted: Admitted) -> Response:
    async def store(events: ResponseEvents) -> None:
        await _save(api, turn, admitted.owner, events.response)

    def make(first: ChatChunk) -> ResponseEvents:
        return ResponseEvents(turn.parameters, turn.identifier, str(first.model or turn.parameters.get("model") or ""))

    return await converted_stream(request, api.sender.stream(asked), admitted, make, store)


@router.get("/responses/{response_id}", summary="Look a response up", responses=_ERRORS)
async def get_response(response_id: str, api: Api, caller: CurrentCaller) -> dict[str, Any]:
    """Return a stored response."""
    return (await _stored(api).get(response_id, caller)).response


@router.delete("/responses/{response_id}", summary="Delete a response", responses=_ERRORS)
async def delete_response(response_id: str, api: Api, caller: CurrentCaller) -> dict[str, Any]:
    """Delete a stored response. Responses that continue it are not affected."""
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
    """List the input items of a response, starting after the item `after`."""
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
