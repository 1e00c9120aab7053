"""OpenAPI schemas of the routes in Anthropic's format."""

from typing import Any

__all__ = ["COUNT", "MESSAGE"]

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"type": "string", "const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": "An error in Anthropic's format.", "content": {"application/json": {"schema": _ERROR}}}
    for status in ("4XX", "5XX")
}
_CONTENT = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["model", "max_tokens", "messages"],
    "properties": {
        "model": {"type": "string", "description": "A model, an alias, a chain (`first,second`) or `auto`."},
        "max_tokens": {"type": "integer", "minimum": 1},
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {"role": {"type": "string", "enum": ["user", "assistant", "system"]}, "content": _CONTENT},
            },
        },
        "system": _CONTENT,
        "stream": {"type": "boolean", "default": False},
        "tools": {"type": "array", "items": {"type": "object"}},
        "thinking": {"type": "object"},
    },
    "additionalProperties": True,
}
_EXAMPLE = {
    "summary": "A question",
    "value": {"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "Why is the sky blue?"}]},
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "type", "role", "content", "usage"],
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string", "const": "message"},
        "role": {"type": "string", "const": "assistant"},
        "model": {"type": "string"},
        "content": {"type": "array", "items": {"type": "object"}},
        "stop_reason": {"type": "string"},
        "usage": {"type": "object"},
    },
}


def _documented(request: dict[str, Any], answer: dict[str, Any], description: str, more: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": request, "examples": {"question": _EXAMPLE}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": content}}},
        "responses": {
            200: {"description": description, "content": {"application/json": {"schema": answer}, **more}},
            **ERRORS,
        },
    }


MESSAGE = _documented(_REQUEST, _ANSWER, "A message; with `stream`, its events.", {"text/event-stream": {}})
"""How the route of messages is documented."""
COUNT = _documented(
    {**_REQUEST, "required": ["model", "messages"]},
    {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": {"type": "integer"}}},
    "The estimate.",
    {},
)
"""How the route that counts tokens is documented."""
