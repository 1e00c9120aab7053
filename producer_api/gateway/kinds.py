"""Embeddings, completions, moderations, scores and rankings: one request to the fleet, passed through."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from balancer.fleet.model_request import ModelRequest
from balancer.providers.kinds import CHAT_PATH, KINDS, RESPONSES_PATH, Kind
from jobs.intake.lines import missing_field
from producer_api.access.callers import caller_of
from producer_api.context import context_of
from producer_api.gateway.admission import admit
from producer_api.gateway.chat import complete, headers, refusal
from producer_api.gateway.documentation import passed_through
from producer_api.gateway.request import read_object
from producer_api.http.errors import ApiError, Problem

__all__ = ["HANDLERS", "router"]

router = APIRouter(tags=["other kinds"])
SUMMARIES = {
    "/completions": "Complete a text",
    "/embeddings": "Make embeddings of texts",
    "/moderations": "Classify texts as harmful or not",
    "/score": "Score pairs of texts (vLLM)",
    "/rerank": "Rank documents by a query (vLLM)",
}


def _answering(kind: Kind) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        """Send a request to the endpoint that suits it best, and to another one if that fails. Every field goes through."""
        api = context_of(request)
        await api.access.check_budget(caller_of(request))
        body = await read_object(request)
        _check(kind, body)
        admitted = await admit(api, request, body)
        sent = await complete(
            api, request, ModelRequest(body, admitted.owner, path=kind.path, on_abandoned=admitted.spent), admitted
        )
        if sent.answer is None:
            return refusal(sent, admitted)
        return Response(sent.answer.body, 200, headers(sent, admitted), "application/json")

    return answer


def _check(kind: Kind, body: dict[str, Any]) -> None:
    if missing := missing_field(kind.path, body):
        raise _refused(f"missing required parameter: {missing}", missing, "missing_required_parameter")
    if not isinstance(body.get("model") or "", str):
        raise _refused("model: must be a string", "model", "invalid_type")
    if body.get("stream"):
        raise _refused("stream: only chats are streamed", "stream", "unsupported_parameter")


def _refused(message: str, param: str, code: str) -> ApiError:
    return ApiError(Problem(400, message, param=param, code=code))


HANDLERS = {
    kind.path: _answering(kind)
    for kind in KINDS.values()
    if kind.path not in (CHAT_PATH, RESPONSES_PATH)  # these have routes of their own
}
for _path, _handler in HANDLERS.items():
    router.add_api_route(
        _path,
        _handler,
        methods=["POST"],
        response_model=None,
        name=_path.strip("/"),
        summary=SUMMARIES[_path],
        **passed_through(KINDS[_path]),
    )
