"""Converts Gemini's answers (GenerateContentResponse) to OpenAI's format."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

from balancer.outcome import Usage
from balancer.providers.shapes import completion, image_part, tool_call

__all__ = [
    "ContentParts",
    "UnreadableAnswer",
    "answer_id",
    "answer_model",
    "completion_of",
    "content_parts",
    "ending_of",
    "ends_well",
    "finish_reason",
    "logprobs_in",
    "tier_in",
    "unused_id",
    "usage_in",
    "was_blocked",
]

logger = logging.getLogger(__name__)

_ENDINGS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""OpenAI's words for the `finishReason`s that it has one for. Google adds others at any time."""
_TIERS = {
    "standard": "default",
    "flex": "flex",
    "priority": "priority",
    "ON_DEMAND": "default",
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
}
"""The Gemini API's `serviceTier` and Vertex AI's `trafficType` -> OpenAI's `service_tier`."""
_NOT_YET = "FINISH_REASON_UNSPECIFIED"
_MOST_TOKENS = 2**40
"""A count beyond this is no count."""
_MOST_SHOWN = 40
"""Characters of an unknown reason that are logged."""


class UnreadableAnswer(ValueError):
    """An answer isn't what the wire format says; `str()` tells what is wrong, and nothing of the content."""


@dataclass(frozen=True, slots=True)
class ContentParts:
    """The parts of one candidate: text, reasoning, tool calls and images in OpenAI's shape."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[dict[str, Any], ...] = ()
    images: tuple[dict[str, Any], ...] = ()


def completion_of(answer: Mapping[str, Any], model: str) -> tuple[dict[str, Any], Usage] | None:
    """Return an OpenAI completion and its tokens; None if `answer` holds none. Raises UnreadableAnswer.

    A refused prompt makes a completion without content that ends with `content_filter`. `model` is what was asked for.
    """
    candidates = answer.get("candidates")
    if candidates and isinstance(candidates, list):
        choices = [_choice(candidate, model) for candidate in candidates]
    elif was_blocked(answer):
        choices = [{"message": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": "content_filter"}]
    else:
        return None
    usage = usage_in(answer.get("usageMetadata"))
    made = completion(answer_id(answer), answer_model(answer, model), choices, usage)
    return made | tier_in(answer.get("usageMetadata")), usage


def _choice(candidate: Any, model: str) -> dict[str, Any]:
    if not isinstance(candidate, dict):
        raise UnreadableAnswer("a candidate is no object")
    content = content_parts(candidate.get("content"))
    message: dict[str, Any] = {"role": "assistant", "content": content.text, "refusal": None}
    if content.reasoning:
        message["reasoning_content"] = content.reasoning
    if content.images:
        message["images"] = list(content.images)
    if content.calls:
        message["content"] = content.text or None
        message["tool_calls"] = _with_ids_of_their_own(content.calls)
    reason = ending_of(candidate) or "STOP"
    if not (content.text or content.calls or content.images) and not ends_well(reason):
        raise UnreadableAnswer(f"it ended with {reason[:_MOST_SHOWN]} and without content")
    ending = finish_reason(reason, bool(content.calls), model)
    return {"message": message, "finish_reason": ending, "logprobs": logprobs_in(candidate)}


def _with_ids_of_their_own(calls: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    taken: set[str] = set()
    return [{**call, "id": unused_id(call["id"], taken)} for call in calls]


def unused_id(identifier: str, taken: set[str]) -> str:
    """Return a tool call's id, or a new one if another call of the answer has it. `taken` is kept up to date."""
    identifier = _new_call_id() if identifier in taken else identifier
    taken.add(identifier)
    return identifier


def content_parts(content: Any) -> ContentParts:
    """Read a candidate's `content`, which may be missing. Raises UnreadableAnswer."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list):
        return ContentParts()
    text, reasoning, calls, images = "", "", [], []
    for part in parts:
        if not isinstance(part, dict):
            raise UnreadableAnswer("a part is no object")
        words = part.get("text")
        if isinstance(words, str):
            if part.get("thought"):
                reasoning += words
            else:
                text += words
        if "functionCall" in part:
            calls.append(_call(part))
        if (image := _image(part.get("inlineData"))) and not part.get("thought"):
            images.append(image)
    return ContentParts(text, reasoning, tuple(calls), tuple(images))


def _image(data: Any) -> dict[str, Any] | None:
    """Return an image that stands in an answer; None for anything else."""
    if not isinstance(data, dict) or not isinstance(data.get("data"), str):
        return None
    media_type = data.get("mimeType")
    return image_part(media_type, data["data"]) if isinstance(media_type, str) and media_type.startswith("image/") else None


def logprobs_in(candidate: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a candidate's `logprobsResult` in OpenAI's shape; None without one."""
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict) or not isinstance(chosen := result.get("chosenCandidates"), list):
        return None
    steps = result.get("topCandidates")
    tops = steps if isinstance(steps, list) else []
    content = []
    for index, token in enumerate(chosen):
        step = tops[index] if index < len(tops) else None
        others = step.get("candidates") if isinstance(step, dict) else None
        listed = [_token(other) for other in others] if isinstance(others, list) else []
        content.append({**_token(token), "top_logprobs": listed})
    return {"content": content, "refusal": None}


def _token(token: Any) -> dict[str, Any]:
    text = token.get("token") if isinstance(token, dict) else None
    logprob = token.get("logProbability") if isinstance(token, dict) else None
    if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise UnreadableAnswer("a token of the log probabilities has no text or no number")
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    function = part["functionCall"]
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise UnreadableAnswer("a function call has no name")
    try:
        arguments = orjson.dumps(function.get("args") or {}).decode()
    except orjson.JSONEncodeError as exc:
        raise UnreadableAnswer(f"the arguments of a function call can't be written as JSON ({exc})") from exc
    identifier = function.get("id")
    call = tool_call(identifier if isinstance(identifier, str) and identifier else _new_call_id(), name, arguments)
    signature = part.get("thoughtSignature")
    # Where Google's own OpenAI-compatible endpoint puts it. The client sends it back, see `gemini_contents`.
    return {**call, "extra_content": {"google": {"thought_signature": signature}}} if isinstance(signature, str) else call


def _new_call_id() -> str:
    return f"call_{uuid4().hex[:24]}"


def ending_of(candidate: Mapping[str, Any]) -> str | None:
    """Return a candidate's `finishReason`; None if it hasn't ended."""
    reason = candidate.get("finishReason")
    return reason if isinstance(reason, str) and reason and reason != _NOT_YET else None


def finish_reason(reason: str, called: bool, model: str) -> str:
    """Return OpenAI's word for a `finishReason`. `called`: the answer calls tools. One without a word is `stop`, and logged."""
    word = _ENDINGS.get(reason)
    if word is None:
        logger.warning("%r ended an answer with %s, which is taken for a stop", model, reason[:_MOST_SHOWN])
        word = "stop"
    return "tool_calls" if called and word == "stop" else word


def ends_well(reason: str) -> bool:
    """Whether a `finishReason` is an end that an answer without content may have."""
    return reason in _ENDINGS


def was_blocked(answer: Mapping[str, Any]) -> bool:
    """Whether the prompt was refused, in place of an answer."""
    feedback = answer.get("promptFeedback")
    return isinstance(feedback, dict) and bool(feedback.get("blockReason"))


def answer_id(answer: Mapping[str, Any]) -> str:
    """Return the answer's id, a new one if it has none."""
    identifier = answer.get("responseId")
    return identifier if isinstance(identifier, str) and identifier else f"chatcmpl-{uuid4().hex}"


def answer_model(answer: Mapping[str, Any], asked: str) -> str:
    """Return the model that answered, else the one that was asked."""
    version = answer.get("modelVersion")
    return version if isinstance(version, str) and version else asked


def usage_in(metadata: Any) -> Usage:
    """Read `usageMetadata`; anything else counts as nothing.

    Thoughts are not part of the candidates' tokens, what tools put into the prompt not of the prompt's; cached tokens are.
    """
    counts: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    thoughts = _count(counts, "thoughtsTokenCount")
    return Usage(
        prompt=_count(counts, "promptTokenCount") + _count(counts, "toolUsePromptTokenCount"),
        completion=_count(counts, "candidatesTokenCount") + thoughts,
        cached=_count(counts, "cachedContentTokenCount"),
        reasoning=thoughts,
    )


def tier_in(metadata: Any) -> dict[str, str]:
    """Return the `service_tier` of an answer in OpenAI's words, by what its `usageMetadata` holds of it."""
    counts = metadata if isinstance(metadata, dict) else {}
    named = [counts.get("serviceTier"), counts.get("trafficType")]
    tier = next((_TIERS[name] for name in named if isinstance(name, str) and name in _TIERS), None)
    return {"service_tier": tier} if tier else {}


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int and 0 < value <= _MOST_TOKENS else 0
