"""Converts between LangChain's messages and OpenAI's wire format."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, InvalidToolCall, ToolCall, convert_to_openai_messages
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk, invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.outputs import ChatResult as Generations

from balancer import ChatChunk, ChatResult, Usage
from balancer.results import text_of

__all__ = ["StreamedAnswer", "generations_of", "tool_choice_of", "wire_messages"]

PROVIDER = "roadbalancer"
_BESIDE_THE_TEXT = ("reasoning_content", "reasoning", "refusal")
"""Fields of a message that servers send beside its content; they go into `additional_kwargs`."""
_CHOICES = {"auto": "auto", "none": "none", "any": "required", "required": "required"}


def wire_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return a conversation as OpenAI's format has it."""
    converted = convert_to_openai_messages(list(messages))
    return converted if isinstance(converted, list) else [converted]


def tool_choice_of(choice: str | bool | Mapping[str, Any] | None, names: Sequence[str]) -> Any:
    """Return the wire's `tool_choice`. Where any tool will do and there is one, it is named: more servers know that.

    Raises ValueError for the name of a tool that is not there.
    """
    if choice is None or choice is False or isinstance(choice, Mapping):
        return choice or None
    if choice is True:
        choice = "any"
    if choice in ("any", "required") and len(names) == 1:
        choice = names[0]
    if choice in names:
        return {"type": "function", "function": {"name": choice}}
    if choice not in _CHOICES:
        known = ", ".join(names) or "none"
        raise ValueError(f"tool_choice: {choice!r} is no tool that was bound ({known}), nor auto, none, any or required")
    return _CHOICES[choice]


def generations_of(result: ChatResult) -> Generations:
    """Return an answer's choices. Usage and cost are in the first one only."""
    raw = result.raw or {}
    usage = _usage_metadata(result.usage) if result.usage and raw.get("usage") else None
    metadata = {"model_name": result.model, "model_provider": PROVIDER, "endpoint": result.endpoint, "id": raw.get("id")}
    generations: list[ChatGeneration] = []
    for choice in raw.get("choices") or ():
        generations.append(_generation(choice, metadata | {"cost": result.cost}, None if generations else usage))
    llm_output = {"model_name": result.model, "endpoint": result.endpoint}
    return Generations(generations=generations, llm_output=llm_output)


def _generation(choice: Mapping[str, Any], metadata: dict[str, Any], usage: UsageMetadata | None) -> ChatGeneration:
    message = choice.get("message") or {}
    finish_reason = choice.get("finish_reason")
    response_metadata = metadata | {"finish_reason": finish_reason, "logprobs": choice.get("logprobs")}
    calls, broken = _tool_calls(message.get("tool_calls") or ())
    return ChatGeneration(
        message=AIMessage(
            content=text_of(message.get("content")) or "",
            additional_kwargs=_beside_the_text(message),
            tool_calls=calls,
            invalid_tool_calls=broken,
            usage_metadata=usage,
            response_metadata={name: value for name, value in response_metadata.items() if value is not None},
        ),
        generation_info={"finish_reason": finish_reason},
    )


def _tool_calls(raw: Sequence[Mapping[str, Any]]) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Part the calls whose arguments are a JSON object from those whose arguments are not."""
    good, bad = [], []
    for each in raw:
        function = each.get("function") or {}
        name, text = function.get("name"), function.get("arguments") or ""
        try:
            arguments = json.loads(text) if text.strip() else {}
            problem = None if isinstance(arguments, dict) else "the arguments are no JSON object"
        except ValueError as exc:
            arguments, problem = None, f"the arguments are not JSON: {exc}"
        if isinstance(arguments, dict) and name:
            good.append(tool_call(name=name, args=arguments, id=each.get("id")))
        else:
            bad.append(invalid_tool_call(name=name, args=text, id=each.get("id"), error=problem or "the call names no tool"))
    return good, bad


def _beside_the_text(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: message[name] for name in _BESIDE_THE_TEXT if message.get(name)}


def _usage_metadata(usage: Usage) -> UsageMetadata:
    found = UsageMetadata(input_tokens=usage.prompt, output_tokens=usage.completion, total_tokens=usage.prompt + usage.completion)
    if usage.cached:
        found["input_token_details"] = InputTokenDetails(cache_read=usage.cached)
    if usage.reasoning:
        found["output_token_details"] = OutputTokenDetails(reasoning=usage.reasoning)
    return found


class StreamedAnswer:
    """Turns one stream's chunks into LangChain's. LangChain sums and joins whatever several chunks tell, so what is sent once
    (usage, model, finish reason) is kept for the `last` one. Of several choices, the first is streamed."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._metadata: dict[str, Any] = {"model_provider": PROVIDER}

    def piece(self, chunk: ChatChunk) -> ChatGenerationChunk | None:
        """Return what a chunk adds to the answer; None if that is nothing."""
        self._usage = chunk.usage or self._usage
        self._note(endpoint=chunk.endpoint, model_name=chunk.model, id=chunk.raw.get("id"))
        choice: Mapping[str, Any] = next((each for each in chunk.raw.get("choices") or () if not each.get("index")), {})
        self._note(finish_reason=choice.get("finish_reason"))
        # An endpoint that does not stream sends the whole message.
        delta = choice.get("delta") or choice.get("message") or {}
        message = AIMessageChunk(
            content=text_of(delta.get("content")) or "",
            additional_kwargs=_beside_the_text(delta),
            tool_call_chunks=_tool_call_chunks(delta.get("tool_calls") or ()),
            response_metadata={"logprobs": choice["logprobs"]} if choice.get("logprobs") else {},
        )
        if message.content or message.additional_kwargs or message.tool_call_chunks or message.response_metadata:
            return ChatGenerationChunk(message=message)
        return None

    def last(self) -> ChatGenerationChunk:
        """Return the chunk that ends the answer."""
        message = AIMessageChunk(
            content="",
            usage_metadata=_usage_metadata(self._usage) if self._usage else None,
            response_metadata=self._metadata,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": self._metadata.get("finish_reason")})

    def _note(self, **facts: Any) -> None:
        self._metadata.update({name: value for name, value in facts.items() if value is not None})


def _tool_call_chunks(raw: Sequence[Mapping[str, Any]]) -> list[ToolCallChunk]:
    return [
        tool_call_chunk(
            name=(each.get("function") or {}).get("name"),
            args=(each.get("function") or {}).get("arguments"),
            id=each.get("id"),
            index=each.get("index", place),
        )
        for place, each in enumerate(raw)
    ]
