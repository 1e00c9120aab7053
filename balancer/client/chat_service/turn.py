"""A turn of a conversation on its way to the fleet and back, the same for every caller."""

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from balancer.client.chat_service.conversation import messages_of, system_prompt
from balancer.client.chat_service.errors import ChatConfigurationError, ChatValidationError, error_of
from balancer.client.chat_service.schema import ChatRequest, ChatResponse
from balancer.configuration.values import ChatDefaults
from balancer.endpoint import Endpoint
from balancer.fleet.model_request import ModelRequest
from balancer.fleet.sent import Sent
from balancer.outcome import Outcome
from balancer.results import first_choice, first_message, text_of

__all__ = ["Turn"]

_KEY_SHAPE = re.compile(r"sk-[A-Za-z0-9_-]{16,256}")
"""The form of OpenAI's keys."""


class Turn:
    """One turn. `body` is the chat request that it makes, `key` the caller's own, None where the endpoints' count.

    Raises ChatValidationError for a key that can't be used.
    """

    def __init__(self, request: ChatRequest, defaults: ChatDefaults) -> None:
        self._request = request
        self.key = _key_of(request)
        self.temperature = defaults.temperature if request.temperature is None else request.temperature
        model = request.model or defaults.model
        self.body: Mapping[str, Any] = {
            "messages": messages_of(
                system_prompt(
                    defaults.system_message if request.system_message is None else request.system_message,
                    request.role,
                    request.memory_context,
                    request.instructions,
                ),
                request.conversation_history,
                request.user_message,
            ),
            "max_tokens": request.max_tokens or defaults.max_tokens,
            **({} if request.temperature is None else {"temperature": request.temperature}),
            **({"model": model} if model else {}),
        }

    def model_request(self, endpoints: Iterable[Endpoint], owner: str = "") -> ModelRequest:
        """Return the request to a fleet of these endpoints. Raises ChatConfigurationError where none takes the caller's key."""
        only = takers_of_callers_keys(endpoints) if self.key else None
        if only is not None and not only:
            raise ChatConfigurationError("no endpoint here takes callers' keys; one at https://api.openai.com/v1 would")
        return ModelRequest(self.body, owner, self.key, only, {"temperature": self.temperature})

    def response(self, sent: Sent, seconds: float) -> ChatResponse:
        """Return what came of it after so many seconds. Raises ChatServiceError if it was given up."""
        if sent.answer is None:
            raise error_of(sent, bool(self.key))
        return self._response(sent.answer, seconds)

    def _response(self, outcome: Outcome, seconds: float) -> ChatResponse:
        raw: Any = outcome.parsed or {}
        declined = first_choice(raw).get("finish_reason") == "content_filter"
        return ChatResponse(
            session_id=self._request.session_id or f"session_{secrets.token_hex(12)}",
            response_text=text_of(first_message(raw).get("content")) or "",
            model=str(raw.get("model") or outcome.model),
            input_tokens=outcome.usage.prompt,
            output_tokens=outcome.usage.completion,
            total_tokens_used=outcome.usage.prompt + outcome.usage.completion,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            temperature=self.temperature,
            instructions=self._request.instructions,
            response_time=round(seconds, 6),
            success=not declined,
            error_message="the provider declined to answer this" if declined else None,
            api_key_source="user" if self.key else "server",
        )


def takers_of_callers_keys(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """Return the endpoints that callers' keys may be sent to: OpenAI itself, and those that the operator names with the option
    `caller_keys`."""
    return frozenset(endpoint.name for endpoint in endpoints if _takes_callers_keys(endpoint))


def _takes_callers_keys(endpoint: Endpoint) -> bool:
    if endpoint.provider != "openai":
        return False
    address = urlsplit(endpoint.url)
    is_openai = (address.scheme, address.hostname) == ("https", "api.openai.com")
    return is_openai or endpoint.options.get("caller_keys") == "accept"


def _key_of(request: ChatRequest) -> str | None:
    given = request.openai_api_key.get_secret_value().strip() if request.openai_api_key else ""
    if not given:
        if request.free_mode:
            return None
        raise ChatValidationError("openai_api_key: give a key of your own, or ask in free mode (`free_mode: true`)")
    if not _KEY_SHAPE.fullmatch(given):
        raise ChatValidationError(
            "openai_api_key: this is no OpenAI key; they begin with `sk-`, followed by letters, digits, - and _"
        )
    return given
