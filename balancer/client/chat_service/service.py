"""`ChatService`: turns of conversations within a program, with the fields of `/api/v1/chat`."""

import time
from typing import Self

from balancer.client.chat_service.errors import ChatConfigurationError
from balancer.client.chat_service.schema import ChatRequest, ChatResponse
from balancer.client.chat_service.turn import Turn, takers_of_callers_keys
from balancer.client.construction import constructor_options
from balancer.client.own_balancers import OwnBalancers
from balancer.configuration import Configuration, load_configuration
from balancer.endpoint import Endpoint

__all__ = ["ChatService"]

OPENAI = "https://api.openai.com/v1"


class ChatService:
    """Answers turns with the endpoints of a configuration: the given one, else that of `ROADBALANCER_CONFIG` and the environment.

    A request with a key of its own goes to OpenAI, whether or not the configuration has an endpoint there. Use it on any number
    of event loops. Raises ConfigurationError for a configuration that can't be used.
    """

    def __init__(self, configuration: Configuration | None = None) -> None:
        self._configuration = configuration or load_configuration()
        options = constructor_options(self._configuration)
        self._endpoints: tuple[Endpoint, ...] = tuple(options.pop("endpoints"))
        self._balancers = OwnBalancers(self._endpoints, options) if self._endpoints else None
        self._for_callers_keys: OwnBalancers | None = None

    async def process_chat_request(self, request: ChatRequest) -> ChatResponse:
        """Compose the system prompt of system message, role, memory and instructions, and answer the user's message.

        Raises ChatValidationError, ChatConfigurationError or ChatUpstreamError, which are ChatServiceErrors.
        """
        turn = Turn(request, self._configuration.chat)
        balancers, endpoints = self._place_for(turn)
        asked = turn.model_request(endpoints)
        started = time.perf_counter()
        sent = await balancers.for_loop().send(asked)
        return turn.response(sent, time.perf_counter() - started)

    def _place_for(self, turn: Turn) -> tuple[OwnBalancers, tuple[Endpoint, ...]]:
        if self._balancers is not None and (turn.key is None or takers_of_callers_keys(self._endpoints)):
            return self._balancers, self._endpoints
        if turn.key is None:
            raise ChatConfigurationError("no endpoint is configured: set a provider's key, LLM_ENDPOINTS or ROADBALANCER_CONFIG")
        if self._for_callers_keys is None:
            openai = Endpoint(OPENAI, name="openai", provider="openai")
            self._for_callers_keys = OwnBalancers([openai], {"enable_health_check": False})
        return self._for_callers_keys, self._for_callers_keys.endpoints

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        for balancers in (self._balancers, self._for_callers_keys):
            if balancers is not None:
                await balancers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()
