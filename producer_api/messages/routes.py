"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.fleet.model_request import ModelRequest
from balancer.usage.token_guess import prompt_tokens
from producer_api.access.callers import caller_of
from producer_api.context import Api
from producer_api.gateway.admission import admit
from producer_api.gateway.chat import complete, headers, refusal
from producer_api.gateway.converted_stream import converted_stream
from producer_api.gateway.request import read_object
from producer_api.http.rendering import JsonBytes
from producer_api.messages.answers import message_object
from producer_api.messages.documentation import COUNT, MESSAGE
from producer_api.messages.events import MessageEvents
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
        asked = ModelRequest({**body, "stream_options": {"include_usage": True}}, admitted.owner)
        return await converted_stream(request, api.sender.stream(asked), admitted, lambda first: MessageEvents(first.model or ""))
    sent = await complete(api, request, ModelRequest(body, admitted.owner, on_abandoned=admitted.spent), admitted)
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
