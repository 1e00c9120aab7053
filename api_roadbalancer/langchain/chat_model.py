"""`ChatRoadbalancer`: LangChain's chat model over a load balancer."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.outputs import ChatResult as Generations
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from api_roadbalancer.langchain.structured_output import StructuredOutputMethod, parsed, parser_for, response_format
from api_roadbalancer.langchain.wire import StreamedAnswer, generations_of, tool_choice_of, wire_messages
from balancer import AsyncLoadBalancer, Attempt, BalancerError, ChatFailed, ChatResult, Endpoint, LoadBalancer
from balancer.client.construction import constructor_options
from balancer.client.own_balancers import OwnBalancers
from balancer.configuration import load_configuration

__all__ = ["ChatRoadbalancer", "ChatRoadbalancerError"]


class ChatRoadbalancerError(BalancerError):
    """No endpoint answered. `attempts` has those that were tried, and their failures."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...] = ()) -> None:
        self.attempts = attempts
        super().__init__(message)


class ChatRoadbalancer(BaseChatModel):
    """A LangChain chat model whose calls are spread over endpoints.

    Give a `balancer` (for `invoke`, `stream`, `batch`), an `async_balancer` (for `ainvoke`, `astream`, `abatch`) or both, which
    stay yours to close; or `endpoints`, or `config`, the path of the project's configuration file; or nothing of that, and the
    environment names the endpoints (`LLM_ENDPOINTS`). In the last three cases the model opens balancers when it is first used,
    for its threads and for each event loop: `close` or `aclose` it. With `balancer` alone, the asynchronous methods run it in
    threads. Raises ChatRoadbalancerError where no endpoint answers, and ValueError for settings that can't be used.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    model: str | None = None
    """The model's name; None leaves it to the endpoints."""
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    """Whether `invoke` streams inside."""
    stream_usage: bool = True
    """Whether streams ask for token counts. Turn it off for servers that refuse `stream_options`."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, such as `seed` or `top_p`."""

    balancer: LoadBalancer | None = Field(default=None, repr=False, exclude=True)
    async_balancer: AsyncLoadBalancer | None = Field(default=None, repr=False, exclude=True)
    endpoints: Sequence[Endpoint | str] | None = Field(default=None, repr=False, exclude=True)
    """Endpoints, or their addresses."""
    config: str | Path | None = None
    api_key: SecretStr | None = Field(default=None, repr=False, exclude=True)
    """The key for endpoints that are given as mere addresses; others have their own."""
    timeout: float | None = None
    """Seconds for one attempt."""
    max_retries: int | None = None
    """Further attempts after the first."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)
    """Further options of LoadBalancer: `strategy`, `redis_url`, `health_check_interval` and so on."""

    _own: OwnBalancers | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _open_settings(self) -> Self:
        if self.balancer is None and self.async_balancer is None:
            self._own = OwnBalancers(*self._settings())
            return self
        belonging = ("endpoints", "config", "api_key", "timeout", "max_retries", "options")
        if given := [name for name in belonging if getattr(self, name) not in (None, {})]:
            raise ValueError(f"{', '.join(given)}: with balancer= or async_balancer=, set this there")
        return self

    def _settings(self) -> tuple[Sequence[Endpoint], dict[str, Any]]:
        given = {"timeout": self.timeout, "retry_count": self.max_retries}
        options = {name: value for name, value in given.items() if value is not None} | self.options
        if self.endpoints is not None:
            if self.config is not None:
                raise ValueError("endpoints, config: give one of them")
            key = self.api_key.get_secret_value() if self.api_key else None
            return [Endpoint(each, api_key=key) if isinstance(each, str) else each for each in self.endpoints], options
        configuration = load_configuration(self.config)
        settings = constructor_options(configuration) | options
        return settings.pop("endpoints"), settings

    @property
    def _llm_type(self) -> str:
        return "roadbalancer"

    @property
    def endpoint_names(self) -> list[str]:
        """The names of the endpoints that calls are spread over."""
        if self._own is not None:
            return [endpoint.name for endpoint in self._own.endpoints]
        balancer = self.balancer or self.async_balancer
        return [entry["name"] for entry in balancer.get_stats()["endpoints"]] if balancer else []

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = ("model", "temperature", "max_tokens", "stop", "model_kwargs")
        return {name: getattr(self, name) for name in names} | {"endpoints": self.endpoint_names}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=self.stop if stop is None else stop, **kwargs)
        params["ls_provider"] = self._llm_type
        return params

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generations:
        return _answer(self._for_threads().chat(wire_messages(messages), **self._fields(stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Generations:
        balancer = self._for_loop()
        if balancer is None:
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        return _answer(await balancer.chat(wire_messages(messages), **self._fields(stop, kwargs)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        fields = self._stream_fields(stop, kwargs)
        answer = StreamedAnswer()
        try:
            for chunk in self._for_threads().chat(wire_messages(messages), stream=True, **fields):
                if piece := answer.piece(chunk):
                    _call_back(run_manager, piece)
                    yield piece
        except ChatFailed as exc:
            raise ChatRoadbalancerError(str(exc), exc.attempts) from exc
        last = answer.last()
        _call_back(run_manager, last)
        yield last

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        balancer = self._for_loop()
        if balancer is None:
            async for piece_of_thread in super()._astream(messages, stop, run_manager, **kwargs):
                yield piece_of_thread
            return
        fields = self._stream_fields(stop, kwargs)
        answer = StreamedAnswer()
        try:
            stream = await balancer.chat(wire_messages(messages), stream=True, **fields)
            async with aclosing(cast(AsyncGenerator[Any, None], stream)) as chunks:
                async for chunk in chunks:
                    if piece := answer.piece(chunk):
                        await _atell(run_manager, piece)
                        yield piece
        except ChatFailed as exc:
            raise ChatRoadbalancerError(str(exc), exc.attempts) from exc
        last = answer.last()
        await _atell(run_manager, last)
        yield last

    def _fields(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        stops = self.stop if stop is None else stop
        own = {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens, "stop": stops or None}
        given = {name: value for name, value in kwargs.items() if value is not None and name != "stream"}
        return own | self.model_kwargs | given

    def _stream_fields(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {"stream_options": {"include_usage": self.stream_usage}} | self._fields(stop, kwargs)

    def _for_threads(self) -> LoadBalancer:
        if self.balancer is not None:
            return self.balancer
        if self._own is None:
            raise ValueError("this ChatRoadbalancer has an async_balancer only: use ainvoke and astream, or give balancer= too")
        return self._own.for_threads()

    def _for_loop(self) -> AsyncLoadBalancer | None:
        """Return the balancer of the running loop; None if there is but one for threads."""
        return self._own.for_loop() if self._own else self.async_balancer

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools that it may call.

        `tool_choice` is `auto`, `none`, `any` (or `required`, or True), or a tool's name. Raises ValueError for another name.
        """
        converted = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        names = [tool["function"]["name"] for tool in converted if "function" in tool]
        choice = tool_choice_of(tool_choice, names)
        return self.bind(tools=converted, **({"tool_choice": choice} if choice else {}), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: StructuredOutputMethod = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return the model with answers that follow a schema, parsed.

        `method` is how the endpoints are asked: `function_calling` (one tool that must be called), `json_schema`
        (`response_format` with the schema) or `json_mode` (any JSON object; the prompt must describe it).
        Raises ValueError for another method.
        """
        function = convert_to_openai_tool(schema, strict=strict)["function"]
        structured = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        model: Runnable[LanguageModelInput, AIMessage]
        if method == "function_calling":
            bound = kwargs | {"ls_structured_output_format": structured}
            model = self.bind_tools([schema], tool_choice=function["name"], strict=strict, **bound)
        else:
            model = self.bind(response_format=response_format(method, function), ls_structured_output_format=structured, **kwargs)
        parser = parser_for(schema, method, function["name"])
        return parsed(model, parser) if include_raw else model | parser

    def close(self) -> None:
        """Close the balancer that the model opened for its threads. A second time does nothing."""
        if self._own is not None:
            self._own.close()

    async def aclose(self) -> None:
        """Close the balancers that the model opened for its threads and for the running loop."""
        if self._own is not None:
            await self._own.aclose()


def _answer(result: ChatResult) -> Generations:
    if not result.success:
        raise ChatRoadbalancerError(result.error or "no endpoint answered", result.attempts)
    return generations_of(result)


def _call_back(run_manager: CallbackManagerForLLMRun | None, piece: ChatGenerationChunk) -> None:
    if run_manager:
        run_manager.on_llm_new_token(piece.text, chunk=piece)


async def _atell(run_manager: AsyncCallbackManagerForLLMRun | None, piece: ChatGenerationChunk) -> None:
    if run_manager:
        await run_manager.on_llm_new_token(piece.text, chunk=piece)
