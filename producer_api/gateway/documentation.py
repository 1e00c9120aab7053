"""OpenAPI schemas of routes whose bodies are passed through."""

from typing import Any

from balancer.providers.kinds import Kind
from producer_api.http.openapi import errors

__all__ = ["CHAT", "RESPONSES", "passed_through"]

_ERRORS = errors(400, 401, 403, 404, 413, 429, "4XX", 500, 502, 503, 504)
_EVENTS: dict[str, Any] = {"text/event-stream": {}}
"""Without a schema, which could only say of the whole stream that it is a text."""

_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {
            "description": "Text, or a list of parts: `text`, `image_url`, `file` (a PDF as a data: URL), `document`.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}, {"type": "null"}],
        },
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": {
            "type": "string",
            "description": "A model, an alias, a chain (`first,second`) or `auto`. Left out: any endpoint's own.",
        },
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "stream": {"type": "boolean", "default": False},
        "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean", "default": False}}},
        "temperature": {"type": "number"},
        "max_tokens": {"type": "integer"},
        "stop": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "tools": {"type": "array", "items": {"type": "object"}},
        "response_format": {"type": "object"},
    },
    "additionalProperties": True,
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "const": "chat.completion"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_EXAMPLES = {
    "hello": {
        "summary": "A question",
        "value": {"model": "auto", "messages": [{"role": "user", "content": "Say hello in Korean."}]},
    },
    "stream": {
        "summary": "A streamed answer, with its tokens at the end",
        "value": {
            "model": "gpt-5.4-mini",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}],
        },
    },
}
CHAT: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST, "examples": _EXAMPLES}}}
    },
    "responses": {
        200: {
            "description": "A chat completion; with `stream`, server-sent events of `chat.completion.chunk`, then `[DONE]`.",
            "content": {"application/json": {"schema": _ANSWER}, **_EVENTS},
        },
        **_ERRORS,
    },
}
"""How the chat route is documented."""

_INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {"type": "string"},
        "input": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "object"}}]},
        "instructions": {"type": "string"},
        "max_output_tokens": {"type": "integer"},
        "reasoning": {"type": "object", "properties": {"effort": {"type": "string"}}},
        "text": {"type": "object", "properties": {"format": {"type": "object"}}},
        "metadata": {"type": "object"},
        "temperature": {"type": "number"},
        "stream": {"type": "boolean", "default": False},
    },
    "additionalProperties": True,
}
_RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "status", "output"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string", "const": "response"},
        "status": {"type": "string", "enum": ["completed", "incomplete"]},
        "model": {"type": "string"},
        "output": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_INPUT_EXAMPLE = {
    "summary": "A question",
    "value": {"model": "auto", "instructions": "Be brief.", "input": "Why is the sky blue?"},
}
RESPONSES: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _INPUT, "examples": {"question": _INPUT_EXAMPLE}}},
        }
    },
    "responses": {
        200: {
            "description": "A response; with `stream`, its events.",
            "content": {"application/json": {"schema": _RESPONSE}, **_EVENTS},
        },
        **_ERRORS,
    },
}
"""How the responses route is documented."""

_TEXTS: dict[str, Any] = {
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}}]
}


def passed_through(kind: Kind) -> dict[str, Any]:
    """Return how the route of another kind is documented."""
    request = {
        "type": "object",
        "required": list(kind.required),
        "properties": {"model": {"type": "string"}, **{name: _TEXTS for name in kind.required}},
        "additionalProperties": True,
    }
    example = {"model": "a-model", **{name: "Hello" for name in kind.required}}
    answer = {
        "type": "object",
        "required": [kind.answer],
        "properties": {kind.answer: {"type": "array", "items": {"type": "object"}}, "usage": {"type": "object"}},
    }
    content = {"schema": request, "examples": {"one": {"summary": "One text", "value": example}}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": content}}},
        "responses": {
            200: {"description": "The endpoint's answer.", "content": {"application/json": {"schema": answer}}},
            **_ERRORS,
        },
    }
