"""`POST /api/v1/chat`: one turn of a conversation, with its whole context in the request."""

import time
from dataclasses import replace

from fastapi import APIRouter, Request

from balancer.client.chat_service import ChatRequest, ChatResponse, Turn
from producer_api.context import Api
from producer_api.gateway.admission import admit
from producer_api.gateway.chat import complete
from producer_api.http.json_body import JsonRoute
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(tags=["chat"], route_class=JsonRoute)


@router.post(
    "/chat",
    summary="Answer one turn of a conversation",
    responses=errors(400, 401, 403, 413, 422, 429, 500, 503),
)
async def chat(body: ChatRequest, request: Request, api: Api) -> ChatResponse:
    """Compose the system prompt of system message, role, memory and instructions, and answer the user's message.

    Without `free_mode` the request must bring a key of its own; with it, the server's are used where it brings none.
    """
    turn = Turn(body, api.node.configuration.chat)
    # Refusals come before the admission, which has to be released.
    turn.model_request(api.node.fleet.endpoints.values())
    admitted = await admit(api, request, dict(turn.body))
    asked = turn.model_request(api.node.fleet.endpoints.values(), admitted.owner)
    started = time.perf_counter()
    sent = await complete(api, request, replace(asked, on_abandoned=admitted.spent), admitted)
    return turn.response(sent, time.perf_counter() - started)
