"""`LLMClient`: one provider behind `ainvoke` and `astream`, with its defaults from the environment."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

from balancer.client.clients import endpoint_of_provider
from balancer.client.named.errors import error_of
from balancer.client.named.messages import request_messages
from balancer.client.own_balancers import OwnBalancers
from balancer.configuration import environment
from balancer.errors import ConfigurationError
from balancer.outcome import Usage
from balancer.results import Attempt, ChatChunk, ChatFailed, ChatResult

__all__ = ["ClaudeClient", "GeminiClient", "LLMChunk", "LLMClient", "LLMResponse", "LaasClient", "OpenAIClient"]

TEMPERATURE, MAX_TOKENS, TIMEOUT = 0.7, 1_500, 30.0
"""Of a client whose variables are not set; the time is in seconds for one attempt."""


@dataclass(frozen=True, slots=True)
class LLMResponse:
    """An answer. `cost` is in USD, None if the price is unknown; `raw` is the answer as OpenAI's format has it."""

    content: str
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class LLMChunk:
    """A piece of a streamed answer: the text that it adds. The last one has the `usage`, if the service sends it."""

    content: str
    usage: Usage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


class LLMClient:
    """A client of one provider. Use a subclass, or `get_llm_client(name)`.

    The key comes from the environment unless `api_key` is given. `model`, `temperature`, `max_tokens` and `timeout` (seconds for
    an attempt) take precedence over the variables `NAME_MODEL`, `NAME_TEMPERATURE`, `NAME_MAX_TOKENS` and `NAME_TIMEOUT`; without
    either they are the provider's default model, 0.7, 1,500 and 30. `settings` are further keys of an endpoint, or options of
    AsyncLoadBalancer. Raises ConfigurationError, which names the variable.
    """

    name: ClassVar[str] = ""

    def __init__(
        self,
        model: str | None = None,
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> None:
        if not self.name:
            raise ConfigurationError("LLMClient", "name", "use one of its subclasses, or get_llm_client(name)")
        if model is not None:
            settings["model"] = model
        endpoint, options = endpoint_of_provider(self.name, settings)
        self.model = model or next(iter(endpoint.models), "")
        self.temperature = _number(self.name, "TEMPERATURE", temperature, TEMPERATURE, 0.0, 2.0)
        self.max_tokens = int(_number(self.name, "MAX_TOKENS", max_tokens, MAX_TOKENS, 1, 1_000_000))
        self.timeout = _number(self.name, "TIMEOUT", timeout, TIMEOUT, 0.001, 86_400.0)
        defaults = {"enable_health_check": False, "timeout": self.timeout, "retry_count": 0}
        self._balancers = OwnBalancers([endpoint], defaults | options)

    async def ainvoke(self, messages: Any, **fields: Any) -> LLMResponse:
        """Send a conversation and return the answer.

        `messages` are a text, or a list of dicts, of (role, text) pairs or of LangChain's messages. `fields` are those of a chat
        request, and replace the client's own. Raises RateLimitError, APIConnectionError, LLMServiceUnavailableError, or LLMError
        for all other failures.
        """
        result = await self._balancers.for_loop().chat(request_messages(messages), **self._fields(fields))
        if not result.success:
            raise error_of(result.failure, result.error or "the request failed", result.attempts)
        return _response(result)

    async def astream(self, messages: Any, **fields: Any) -> AsyncIterator[LLMChunk]:
        """Send a conversation and iterate over the answer's pieces: see `ainvoke`."""
        stream = await self._balancers.for_loop().chat(request_messages(messages), stream=True, **self._fields(fields))
        try:
            async with aclosing(cast(AsyncGenerator[ChatChunk, None], stream)) as chunks:
                async for chunk in chunks:
                    if chunk.content or chunk.usage:
                        yield LLMChunk(chunk.content, chunk.usage, chunk.raw)
        except ChatFailed as exc:
            raise error_of(exc.failure, str(exc), exc.attempts) from exc

    def invoke(self, messages: Any, **fields: Any) -> LLMResponse:
        """Do as `ainvoke`, in a thread that waits."""
        result = self._balancers.for_threads().chat(request_messages(messages), **self._fields(fields))
        if not result.success:
            raise error_of(result.failure, result.error or "the request failed", result.attempts)
        return _response(result)

    async def aclose(self) -> None:
        """Close the connections. A second time does nothing."""
        await self._balancers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, **given}


class OpenAIClient(LLMClient):
    """OpenAI, with the key in `OPENAI_API_KEY`."""

    name = "openai"


class ClaudeClient(LLMClient):
    """Claude, with the key in `CLAUDE_API_KEY` or `ANTHROPIC_API_KEY`."""

    name = "claude"


class GeminiClient(LLMClient):
    """Gemini, with the key in `GEMINI_API_KEY`."""

    name = "gemini"


class LaasClient(LLMClient):
    """LaaS, with `LAAS_API_KEY`, `LAAS_PROJECT_CODE` and `LAAS_PRESET_HASH`."""

    name = "laas"


def _response(result: ChatResult) -> LLMResponse:
    calls: Sequence[Mapping[str, Any]] = result.message.get("tool_calls") or ()
    return LLMResponse(
        result.content or "", result.model, result.usage, result.cost, tuple(calls), result.attempts, result.raw or {}
    )


def _number(client: str, setting: str, given: float | None, default: float, least: float, most: float) -> float:
    """Return what is given, else what the variable says, else the default. Raises ConfigurationError."""
    variable = f"{client.upper()}_{setting}"
    source, path, value = ("client", setting.lower(), str(given)) if given is not None else ("environment", variable, "")
    value = value or environment().get(variable, "").strip()
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        raise ConfigurationError(source, path, f"{value!r} is not a number") from None
    if not least <= number <= most:
        raise ConfigurationError(source, path, f"{value} is not between {least:g} and {most:g}")
    return number
