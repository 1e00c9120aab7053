"""Requests other than chats: completions, embeddings, moderations, and vLLM's scores and rankings. The input decides alone."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Callable
from typing import Any

import orjson

from api_roadbalancer.mock.completions import (
    CHARACTERS_PER_TOKEN,
    BadChatRequest,
    ChatRequest,
    answer_words,
    model_of,
    token_limit,
)

__all__ = ["KINDS", "body_of", "parse"]

DIMENSIONS = 8
MOST_DIMENSIONS = 4096
MOST_INPUTS = 2048
PLACES = 21_841
"""A prime number: where an embedding may begin, at each third number."""
_NUMBERS = array("f", [(byte - 127.5) / 127.5 for byte in hashlib.shake_128(b"embeddings").digest(3 * PLACES + MOST_DIMENSIONS)])
"""Of which each embedding is a part: making 1,536 numbers anew takes a tenth of a millisecond."""
_PACKED = base64.b64encode(_NUMBERS.tobytes()).decode()
"""Three numbers are twelve bytes, sixteen characters."""

KINDS = ("/completions", "/responses", "/embeddings", "/moderations", "/score", "/rerank")
GENERATED = ("/completions", "/responses")


def parse(kind: str, payload: object) -> ChatRequest:
    """Read a request. Raises BadChatRequest."""
    if not isinstance(payload, dict):
        raise BadChatRequest("The body must be a JSON object.")
    inputs = _INPUTS[kind](payload)
    tokens = max(1, sum(map(len, inputs)) // CHARACTERS_PER_TOKEN)
    words, reason = answer_words(inputs[0], token_limit(payload)) if kind in GENERATED else ([], "")
    if payload.get("stream"):
        raise BadChatRequest("The simulated server streams chats only.", "stream")
    return ChatRequest(model_of(payload), words, reason, tokens, False, False, kind=kind, inputs=inputs, options=payload)


def body_of(request: ChatRequest, number: int, created: int) -> bytes:
    """Return the answer."""
    body = _BODIES[request.kind](request)
    return orjson.dumps({"id": f"{request.kind[1:]}-{number:012x}", "created": created, "model": request.model, **body})


def _texts(payload: dict[str, Any], name: str) -> tuple[str, ...]:
    value = payload.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise BadChatRequest(f"'{name}' must be a text, or a list of texts, that is not empty.", name)
    if len(texts) > MOST_INPUTS:
        raise BadChatRequest(f"'{name}' may have {MOST_INPUTS} texts.", name)
    return tuple(texts)


_INPUTS: dict[str, Callable[[dict[str, Any]], tuple[str, ...]]] = {
    "/completions": lambda payload: _texts(payload, "prompt"),
    "/responses": lambda payload: _texts(payload, "input"),
    "/embeddings": lambda payload: _texts(payload, "input"),
    "/moderations": lambda payload: _texts(payload, "input"),
    "/score": lambda payload: (*_texts(payload, "text_1")[:1], *_texts(payload, "text_2")),
    "/rerank": lambda payload: (*_texts(payload, "query")[:1], *_texts(payload, "documents")),
}


def _completion(request: ChatRequest) -> dict[str, Any]:
    choice = {"index": 0, "text": " ".join(request.words), "logprobs": None, "finish_reason": request.finish_reason}
    return {"object": "text_completion", "choices": [choice], "usage": request.usage}


def _response(request: ChatRequest) -> dict[str, Any]:
    text = {"type": "output_text", "text": " ".join(request.words), "annotations": []}
    message = {"type": "message", "id": "msg-1", "role": "assistant", "status": "completed", "content": [text]}
    usage = request.usage
    tokens = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    return {
        "object": "response",
        "status": "completed" if request.finish_reason == "stop" else "incomplete",
        "output": [message],
        "usage": {**tokens, "total_tokens": sum(tokens.values())},
    }


def _embeddings(request: ChatRequest) -> dict[str, Any]:
    dimensions = request.options.get("dimensions") or DIMENSIONS
    count = dimensions if isinstance(dimensions, int) and 0 < dimensions <= MOST_DIMENSIONS else DIMENSIONS
    packed = request.options.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, count, packed)}
        for index, text in enumerate(request.inputs)
    ]
    return {"object": "list", "data": data, "usage": _prompt_usage(request)}


def _vector(text: str, dimensions: int, packed: bool) -> list[float] | str:
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % PLACES
    if packed and dimensions % 3 == 0:
        return _PACKED[16 * place : 16 * (place + dimensions // 3)]
    numbers = _NUMBERS[3 * place : 3 * place + dimensions]
    return base64.b64encode(numbers.tobytes()).decode() if packed else numbers.tolist()


def _moderations(request: ChatRequest) -> dict[str, Any]:
    results = [{"flagged": "violence" in text, "categories": {"violence": "violence" in text}} for text in request.inputs]
    return {"results": results}


def _score(request: ChatRequest) -> dict[str, Any]:
    first, *others = request.inputs
    data = [{"index": index, "object": "score", "score": _likeness(first, other)} for index, other in enumerate(others)]
    return {"object": "list", "data": data, "usage": _prompt_usage(request)}


def _rerank(request: ChatRequest) -> dict[str, Any]:
    query, *documents = request.inputs
    results = [
        {"index": index, "document": {"text": text}, "relevance_score": _likeness(query, text)}
        for index, text in enumerate(documents)
    ]
    results.sort(key=lambda each: -float(str(each["relevance_score"])))
    return {"results": results, "usage": {"total_tokens": request.prompt_tokens}}


def _likeness(one: str, other: str) -> float:
    mine, theirs = set(one.lower().split()), set(other.lower().split())
    return len(mine & theirs) / max(1, len(mine | theirs))


def _prompt_usage(request: ChatRequest) -> dict[str, int]:
    return {"prompt_tokens": request.prompt_tokens, "total_tokens": request.prompt_tokens}


_BODIES: dict[str, Callable[[ChatRequest], dict[str, Any]]] = {
    "/completions": _completion,
    "/responses": _response,
    "/embeddings": _embeddings,
    "/moderations": _moderations,
    "/score": _score,
    "/rerank": _rerank,
}
