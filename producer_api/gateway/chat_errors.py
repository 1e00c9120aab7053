"""Exception handlers of `/api/v1/chat`: see balancer.client.chat_service.errors."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from balancer.client.chat_service import ChatConfigurationError, ChatServiceError, ChatUpstreamError, ChatValidationError
from producer_api.http.errors import SERVER_ERROR, UNAVAILABLE, Problem, problem_response

__all__ = ["add_chat_error_handlers"]


def add_chat_error_handlers(app: FastAPI) -> None:
    """Make `app` answer them."""
    app.add_exception_handler(ChatServiceError, _on_chat_error)


async def _on_chat_error(_: Request, exc: Exception) -> Response:
    return problem_response(_problem_of(exc))


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, ChatValidationError):
        return Problem(401, str(error), "authentication_error", "openai_api_key", "invalid_api_key")
    if isinstance(error, ChatConfigurationError):
        return Problem(503, str(error), UNAVAILABLE, code="not_configured")
    code = str(error.kind or "unknown") if isinstance(error, ChatUpstreamError) else "chat_service_error"
    return Problem(500, str(error), SERVER_ERROR, code=code)
