"""Adapts JSON schemas for Anthropic's structured answers: every object excludes additional properties."""

from collections.abc import Mapping
from typing import Any

from balancer.providers.base import RequestRefused

__all__ = ["closed_schema"]

DEEPEST = 64
"""Levels of schemas within schemas."""
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_SINGLE = ("items", "not", "additionalProperties")


def closed_schema(schema: Mapping[str, Any], place: str, depth: int = 0) -> dict[str, Any]:
    """Return a schema with `additionalProperties: false` in every object that does not say anything about them.

    Raises RequestRefused for one that is nested too deeply. What is no schema where one should be is left as it is.
    """
    if depth > DEEPEST:
        raise RequestRefused(place, f"has schemas nested more than {DEEPEST} deep")

    def closed(value: Any) -> Any:
        return closed_schema(value, place, depth + 1) if isinstance(value, dict) else value

    made = dict(schema)
    for name in _BY_NAME:
        if isinstance(found := made.get(name), dict):
            made[name] = {key: closed(value) for key, value in found.items()}
    for name in _LISTS:
        if isinstance(found := made.get(name), list):
            made[name] = [closed(value) for value in found]
    for name in _SINGLE:
        if name in made:
            made[name] = closed(made[name])
    if (made.get("type") == "object" or "properties" in made) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made
