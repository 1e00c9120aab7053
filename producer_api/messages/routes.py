"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.fleet.sending import ChatRequest, ChatStream
from balancer.results import ChatChunk
from balancer.usage.token_guess import prompt_tokens
from producer_api.access.callers import caller_of
from producer_api.context import Api, ApiContext
from producer_api.gateway.admission import Admitted, admit
from producer_api.gateway.chat import begun, complete, headers, opened, refusal
from producer_api.gateway.event_stream import EventStream
from producer_api.gateway.failures import problem_of
from producer_api.gateway.request import read_object
from producer_api.http.rendering import JsonBytes
from producer_api.messages.answers import message_object
from producer_api.messages.documentation import COUNT, MESSAGE
from producer_api.messages.errors import stream_error
from producer_api.messages.events import MessageEvents, event
from producer_api.messages.request import chat_body

__all__ = ["router"]

router = APIRouter(tags=["messages"])


@router.post("/messages", summary="Answer a conversation (Anthropic's Messages API)", response_model=None, **MESSAGE)
async def create_message(request: Request, api: Api) -> Response:
    """Send a conversation in Anthropic's format to the endpoint that suits it best, whichever format that one speaks."""
    await api.access.check_budget(caller_of(request))
    body = chat_body(await read_object(request))
    admitted = await admit(api, request, body)
    if body.get("stream"):
        return await _streamed(api, request, ChatRequest(_with_usage(body), admitted.owner), admitted)
    sent = await complete(api, request, ChatRequest(body, admitted.owner), admitted)
    outcome = sent.answer
    if outcome is None:
        return refusal(sent, admitted)
    answer = message_object(outcome.parsed or {}, outcome.model, outcome.usage)
    return JsonBytes(answer, headers=headers(sent, admitted))


@router.post("/messages/count_tokens", summary="Estimate the tokens of a request for a message", response_model=None, **COUNT)
async def count_tokens(request: Request) -> Response:
    """Estimate the tokens of a request, which is sent nowhere: by the words and characters of each language, and 1,000 for each
    image or document."""
    return JsonBytes({"input_tokens": prompt_tokens(chat_body(await read_object(request), needs_limit=False))})


def _with_usage(body: dict[str, object]) -> dict[str, object]:
    return {**body, "stream_options": {"include_usage": True}}


async def _streamed(api: ApiContext, request: Request, asked: ChatRequest, admitted: Admitted) -> Response:
    chunks = api.sender.stream(asked)
    first = await opened(request, chunks, admitted)
    if first is None:
        return refusal(chunks.sent, admitted)
    where = {"x-roadbalancer-endpoint": first.endpoint.encode("ascii", "replace").decode()}
    events = await begun(_events(first, chunks, admitted))
    return EventStream(events, where | admitted.headers)


async def _events(first: ChatChunk, chunks: ChatStream, admitted: Admitted) -> AsyncGenerator[bytes, None]:
    """Yield nothing at first (see `begun`), then the events of a message."""
    message = MessageEvents(str(first.model or ""))
    async with admitted:
        try:
            async with aclosing(chunks):
                yield b""
                for each in (*message.opening(), *message.take(first)):
                    yield each
                async for chunk in chunks:
                    for each in message.take(chunk):
                        yield each
        finally:
            admitted.spent(chunks.sent)
        if chunks.sent.failure is not None:
            yield event("error", error=stream_error(problem_of(chunks.sent)))
            return
        for each in message.ending(chunks.sent.outcome.usage if chunks.sent.outcome else None):
            yield each
