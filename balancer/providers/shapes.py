"""Builders and readers of OpenAI's request, answer and chunk formats, for adapters."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from balancer.providers.base import RequestRefused

__all__ = [
    "DROPPABLE",
    "DataUrl",
    "assistant_message",
    "chunk",
    "cited",
    "completion",
    "data_url",
    "effort_of",
    "image_part",
    "known_fields",
    "tool_call",
    "usage_object",
    "with_effort",
    "without_fields",
]

DROPPABLE = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias",
        "seed", "logprobs", "top_logprobs", "parallel_tool_calls", "service_tier", "verbosity", "prediction",
    }
)  # fmt: skip
"""Fields that change how an answer is made, but not what is asked: `drop_params` may leave them out."""
_NO_EFFECT = frozenset({"cache_control"})
"""Fields that change the price at most."""
_SAYS_NOTHING = frozenset({"stream", "stream_options", "user", "metadata", "store", "safety_identifier", "prompt_cache_key"})
"""Fields that change nothing about the answer, so that a format without them loses nothing."""


@dataclass(frozen=True, slots=True)
class DataUrl:
    """The content of a `data:` URL (RFC 2397) in base64, without the head."""

    media_type: str
    data: str


_BUDGETS = {"low": 1024, "medium": 8192}
"""Tokens for thinking up to which an effort is meant."""
_USUAL: Mapping[str, Any] = {
    "logprobs": False, "presence_penalty": 0, "frequency_penalty": 0, "n": 1, "service_tier": ("auto", "default"),
    "logit_bias": {}, "parallel_tool_calls": True, "verbosity": "medium",
}  # fmt: skip
"""Values (or several of them) that ask for what happens anyway."""


def data_url(url: Any, param: str) -> DataUrl | None:
    """Read a `data:` URL; None for an http(s) address. `param` is its place in the request. Raises RequestRefused."""
    if not isinstance(url, str):
        raise RequestRefused(param, "must be a string")
    if url[:5].lower() != "data:":
        if url.startswith(("http://", "https://")):
            return None
        raise RequestRefused(param, "must be an http(s) address or a data: URL")
    head, comma, data = url[5:].partition(",")
    media_type, *options = head.split(";")
    if not comma or not data or "base64" not in options:
        raise RequestRefused(param, "must be a data: URL in base64, such as data:image/png;base64,iVBORw0…")
    return DataUrl(media_type.strip().lower() or "text/plain", data)


def known_fields(body: Mapping[str, Any], known: Collection[str], endpoint: Endpoint, provider: str) -> dict[str, Any]:
    """Return the fields of a request that a wire format can say; null ones count as not there.

    Fields of DROPPABLE that it can't are left out where the endpoint has `drop_params`; for any other, and for everything else
    that is not in `known`, RequestRefused names the field.
    """
    fields: dict[str, Any] = {}
    for name, value in body.items():
        if value is None or name in _SAYS_NOTHING:
            continue
        if name in known:
            fields[name] = value
        elif not (_is_usual(name, value) or (name in DROPPABLE and endpoint.drop_params)):
            hint = "; set `drop_params: true` on the endpoint to leave it out" if name in DROPPABLE else ""
            raise RequestRefused(name, f"{provider} can't do this{hint}")
    return fields


def without_fields(body: Mapping[str, Any], refused: Collection[str], endpoint: Endpoint, provider: str) -> dict[str, Any]:
    """Return a request without the fields that a service refuses, where they ask for nothing, change no answer, or `drop_params`
    lets them be left out. Raises RequestRefused for others."""
    left = {name: value for name, value in body.items() if name in refused and name not in _NO_EFFECT}
    known_fields(left, (), endpoint, provider)
    return {name: value for name, value in body.items() if name not in refused}


def _is_usual(name: str, value: Any) -> bool:
    usual = _USUAL.get(name)
    return value in usual if isinstance(usual, tuple) else name in _USUAL and value == usual


def completion(
    identifier: str,
    model: str,
    choices: Sequence[Mapping[str, Any]],
    usage: Usage,
) -> dict[str, Any]:
    """Return an OpenAI chat completion. `choices` have `message` and `finish_reason`."""
    return {
        "id": identifier,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": index, "logprobs": None, **choice} for index, choice in enumerate(choices)],
        "usage": usage_object(usage),
    }


def chunk(
    head: Mapping[str, Any], delta: Mapping[str, Any] | None = None, finish_reason: str | None = None, usage: Usage | None = None
) -> dict[str, Any]:
    """Return one chunk of a stream; with `usage`, the one with the tokens and no choice. `head` has `id`, `created`, `model`."""
    choices = [] if usage else [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason, "logprobs": None}]
    made = {**head, "object": "chat.completion.chunk", "choices": choices}
    return {**made, "usage": usage_object(usage)} if usage else made


def effort_of(thinking: Any) -> str | None:
    """Return OpenAI's `reasoning_effort` for Anthropic's `thinking`; None where the model decides. The budgets are Google's for
    the same words (ai.google.dev/gemini-api/docs/openai). Raises RequestRefused."""
    if thinking is None:
        return None
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "disabled":
        return "none"
    if kind == "adaptive":
        return None
    budget = thinking.get("budget_tokens") if kind == "enabled" else None
    if type(budget) is not int or budget < 1:
        raise RequestRefused("thinking", "must be of type adaptive or disabled, or of type enabled with budget_tokens")
    return next((effort for effort, most in _BUDGETS.items() if budget <= most), "high")


def with_effort(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request with OpenAI's `reasoning_effort` in place of Anthropic's `thinking`; an effort of its own stays."""
    made = {name: value for name, value in body.items() if name != "thinking"}
    effort = made.get("reasoning_effort") or effort_of(body["thinking"])
    return {**made, "reasoning_effort": effort} if effort else made


def assistant_message(
    text: str,
    calls: list[dict[str, Any]],
    reasoning: str | None,
    thinking: list[dict[str, Any]],
    citations: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return an assistant's message. `calls` are as `tool_call` makes them; `reasoning` is None where the model thought nothing;
    `thinking` are Anthropic's blocks, as they have to be sent back with the next request; `citations` are as `cited` makes
    them."""
    message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if thinking:
        message["thinking_blocks"] = thinking
    if citations:
        message["citations"] = citations
    if calls:
        message["tool_calls"] = calls
    return message


def cited(citation: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """Return what a passage of an answer is based on, as the service names it, with the characters of the passage in the answer's
    text: from `start` up to (not including) `end`."""
    return {"start_index": start, "end_index": end, **citation}


def image_part(media_type: str, data: str) -> dict[str, Any]:
    """Return an image in base64 as an entry of an assistant's `images`."""
    return {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{data}"}}


def tool_call(identifier: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a tool call of an assistant's message. `arguments` is JSON text."""
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return OpenAI's `usage`: the prompt's tokens with the cached ones, the completion's with the reasoning.

    `cache_write_1h_tokens` is our own field, beside OpenAI's.
    """
    hour = {"cache_write_1h_tokens": usage.cache_write_hour} if usage.cache_write_hour else {}
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write, **hour},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
