"""Errors of the chat service. Their messages are for the caller and hold no key.

ChatServiceError            base
├── ChatValidationError     the caller's key can't be used, or there is none where one is needed
├── ChatConfigurationError  there is no endpoint that could answer
└── ChatUpstreamError       every endpoint that was tried failed
"""

from balancer.client.failed_request import FailedRequest
from balancer.errors import BalancerError
from balancer.fleet.sent import Sent
from balancer.outcome import FailureKind

__all__ = ["ChatConfigurationError", "ChatServiceError", "ChatUpstreamError", "ChatValidationError", "error_of"]


class ChatServiceError(BalancerError):
    """Base of the chat service's errors."""


class ChatValidationError(ChatServiceError):
    """A field of the request can't be used."""


class ChatConfigurationError(ChatServiceError):
    """No endpoint can take the request."""


class ChatUpstreamError(FailedRequest, ChatServiceError):
    """Every attempt failed. `kind`, `status` and `retry_after` are the last one's, `attempts` are all of them."""


def error_of(sent: Sent, own_key: bool) -> ChatServiceError:
    """Return the error for a request that was given up; `own_key` is whether the caller's key was used."""
    failure = sent.failure
    if failure is None:
        return ChatUpstreamError(sent.explanation(), attempts=tuple(sent.attempts))
    if failure.kind is FailureKind.UNAVAILABLE and not sent.attempts:
        return ChatConfigurationError(failure.message)
    if own_key and failure.kind is FailureKind.AUTHENTICATION:
        return ChatValidationError("openai_api_key: the provider refuses this key")
    return ChatUpstreamError(sent.explanation(), failure.kind, failure.status, failure.retry_after, tuple(sent.attempts))
