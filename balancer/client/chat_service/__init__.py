"""One turn of a conversation, with its whole context in the request: as a class in a program, and behind `POST /api/v1/chat`."""

from balancer.client.chat_service.errors import ChatConfigurationError, ChatServiceError, ChatUpstreamError, ChatValidationError
from balancer.client.chat_service.schema import ChatRequest, ChatResponse
from balancer.client.chat_service.service import ChatService
from balancer.client.chat_service.turn import Turn

__all__ = [
    "ChatConfigurationError",
    "ChatRequest",
    "ChatResponse",
    "ChatService",
    "ChatServiceError",
    "ChatUpstreamError",
    "ChatValidationError",
    "Turn",
]
