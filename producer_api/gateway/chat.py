"""`POST /v1/chat/completions`: one request to the fleet, whole or streamed."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.fleet.model_request import ModelRequest
from balancer.fleet.sending import ChatStream
from balancer.fleet.sent import Sent
from balancer.results import ChatChunk
from producer_api.access.callers import caller_of
from producer_api.context import ApiContext, context_of
from producer_api.gateway.admission import Admitted, admit
from producer_api.gateway.documentation import CHAT
from producer_api.gateway.event_stream import DONE, EventStream, begun
from producer_api.gateway.failures import error_object, problem_of, retry_after_of
from producer_api.gateway.request import read_chat_request
from producer_api.http.disconnect import EndedByDisconnect
from producer_api.http.errors import problem_response

__all__ = ["complete", "headers", "opened", "refusal", "router", "stream_headers"]

router = APIRouter(tags=["chat"])


@router.post("/chat/completions", summary="Answer a conversation", response_model=None, **CHAT)
async def chat_completions(request: Request) -> Response:
    """Send a conversation to the endpoint that suits it best, and to another one at once if that fails.

    `model` is a model, an alias, a chain (`"first,second"`) or `auto`. Every other field goes through to the endpoint.
    """
    # Not a dependency: solving those costs as much as anything else here.
    api = context_of(request)
    # A key whose budget is spent may not make the server parse anything.
    await api.access.check_budget(caller_of(request))
    body = await read_chat_request(request)
    admitted = await admit(api, request, body)
    if body.get("stream"):
        return await _streamed(api, request, body, admitted)
    sent = await complete(api, request, ModelRequest(body, admitted.owner, on_abandoned=admitted.spent), admitted)
    if sent.answer is None:
        return refusal(sent, admitted)
    return Response(sent.answer.body, 200, headers(sent, admitted), "application/json")


async def complete(api: ApiContext, request: Request, asked: ModelRequest, admitted: Admitted) -> Sent:
    """Send a chat, and account for what it used. It is aborted when the client disconnects. Raises CallerGone then.

    `asked.on_abandoned` is to be `admitted.spent`, so that what an aborted one has used is accounted for as well.
    """
    async with admitted:
        with EndedByDisconnect(request.scope):
            sent = await api.sender.complete(asked)
        admitted.spent(sent)
    return sent


def refusal(sent: Sent, admitted: Admitted) -> Response:
    """Return the answer to a request that was given up."""
    response = problem_response(problem_of(sent))
    response.headers.update(headers(sent, admitted))
    if wait := retry_after_of(sent.failure):
        response.headers["retry-after"] = wait
    return response


def headers(sent: Sent, admitted: Admitted) -> dict[str, str]:
    """Return where the answer comes from, after how many attempts, and what is left of the key's limits."""
    found = {"x-roadbalancer-attempts": str(len(sent.attempts)), **admitted.headers}
    if not sent.attempts and sent.answer is not None:
        found["x-roadbalancer-cache"] = "hit"
    if sent.answer is not None:
        found["x-roadbalancer-endpoint"] = sent.answer.endpoint.encode("ascii", "replace").decode()
    return found


def stream_headers(first: ChatChunk, chunks: ChatStream, admitted: Admitted) -> dict[str, str]:
    """Return the same for a stream of which the first chunk has come."""
    where = {"x-roadbalancer-endpoint": first.endpoint.encode("ascii", "replace").decode()}
    return {**where, "x-roadbalancer-attempts": str(len(chunks.sent.attempts) + 1), **admitted.headers}


async def _streamed(api: ApiContext, request: Request, body: Mapping[str, Any], admitted: Admitted) -> Response:
    options = body.get("stream_options") or {}
    # The endpoint is always asked for the tokens: they are on the caller's account, whether it wants to see them or not.
    asked = ModelRequest({**body, "stream_options": {**options, "include_usage": True}}, admitted.owner)
    chunks = api.sender.stream(asked)
    first = await opened(request, chunks, admitted)
    if first is None:
        return refusal(chunks.sent, admitted)
    events = await begun(_events(first, chunks, admitted, bool(options.get("include_usage"))))
    return EventStream(events, stream_headers(first, chunks, admitted))


async def opened(request: Request, chunks: ChatStream, admitted: Admitted) -> ChatChunk | None:
    """Wait for the first chunk, before any header is sent, so that a refusal still has its status; None if there is none.

    Raises CallerGone if the caller goes away meanwhile.
    """
    try:
        with EndedByDisconnect(request.scope):
            return await anext(chunks)
    except StopAsyncIteration:
        admitted.spent(chunks.sent)
        await admitted.release()
        return None
    except BaseException:
        await chunks.aclose()
        admitted.spent(chunks.sent)
        await admitted.release()
        raise


async def _events(first: ChatChunk, chunks: ChatStream, admitted: Admitted, wants_usage: bool) -> AsyncGenerator[bytes, None]:
    async with admitted:
        try:
            # Closed before it is accounted for: what a stream used that is left is known only then.
            async with aclosing(chunks):
                yield b""
                yield _event(first.raw)
                async for chunk in chunks:
                    if wants_usage or not _is_usage_alone(chunk.raw):
                        yield _event(chunk.raw)
        finally:
            admitted.spent(chunks.sent)
        if chunks.sent.failure is not None:
            yield _event({"error": error_object(problem_of(chunks.sent))})
        else:
            yield DONE


def _is_usage_alone(raw: Mapping[str, Any]) -> bool:
    return not raw.get("choices") and bool(raw.get("usage"))


def _event(raw: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(raw) + b"\n\n"
