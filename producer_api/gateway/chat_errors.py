"""Exception handlers of the chat API.

ChatError
├── KeyRefused            the caller's key can't be used, or there is none where one is needed
├── NotConfigured         this server has nothing that could answer
└── UpstreamFailed        every endpoint that was tried failed
"""

from fastapi import FastAPI, Request
from starlette.responses import Response

from producer_api.http.errors import SERVER_ERROR, UNAVAILABLE, Problem, problem_response

__all__ = ["ChatError", "KeyRefused", "NotConfigured", "UpstreamFailed", "add_chat_error_handlers"]


class ChatError(Exception):
    """Base of the chat API's errors. The message is for the caller and holds no key."""


class KeyRefused(ChatError):
    """A key is missing, or has not the form of one."""


class NotConfigured(ChatError):
    """No endpoint of this server can take the request."""


class UpstreamFailed(ChatError):
    """Every attempt failed; `code` is the last one's kind."""

    def __init__(self, message: str, code: str) -> None:
        self.code = code
        super().__init__(message)


def add_chat_error_handlers(app: FastAPI) -> None:
    """Make `app` answer them."""
    app.add_exception_handler(KeyRefused, _on_key_refused)
    app.add_exception_handler(NotConfigured, _on_not_configured)
    app.add_exception_handler(UpstreamFailed, _on_upstream_failed)
    app.add_exception_handler(ChatError, _on_chat_error)


async def _on_key_refused(_: Request, exc: Exception) -> Response:
    return problem_response(Problem(401, str(exc), "authentication_error", "openai_api_key", "invalid_api_key"))


async def _on_not_configured(_: Request, exc: Exception) -> Response:
    return problem_response(Problem(503, str(exc), UNAVAILABLE, code="not_configured"))


async def _on_upstream_failed(_: Request, exc: Exception) -> Response:
    code = exc.code if isinstance(exc, UpstreamFailed) else None
    return problem_response(Problem(500, str(exc), SERVER_ERROR, code=code))


async def _on_chat_error(_: Request, exc: Exception) -> Response:
    return problem_response(Problem(500, str(exc), SERVER_ERROR, code="chat_service_error"))
