"""Formats validation errors: where and why, never with a key or a password."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from balancer.errors import ConfigurationError

__all__ = ["refusal"]

_KINDS_OF_VALUE = ("list[str]", "dict[str,str]")
"""Steps in pydantic's paths that tell between the types that a value may have; they don't stand in the file."""


def refusal(error: ValidationError, source: str, variables: Mapping[str, str] | None = None) -> ConfigurationError:
    """Return the error to raise for the first thing that pydantic found. `variables` are the keys at the top that were read from
    the environment, each with its variable's name (or nothing, if the path says it better)."""
    first = error.errors()[0]
    path = _path_of(first["loc"])
    key = str(first["loc"][0]) if first["loc"] else ""
    if variables and key in variables:
        return ConfigurationError("environment", variables[key] or path, _reason_of(first))
    return ConfigurationError(source, path, _reason_of(first))


def _path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _KINDS_OF_VALUE:
            path += f".{step}" if path else step
    return path


def _reason_of(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; check the spelling against the list of keys in docs/configuration.md"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if {"api_key", "options"} & {*error["loc"]} or not isinstance(given, str | int | float | bool):
        return message
    return f"{message} (got {_without_password(given)!r})"


def _without_password(given: str | float) -> str | float:
    """Leave out what may be a password in an address."""
    return re.sub(r"(//|^)[^/]*@", r"\1…@", given) if isinstance(given, str) else given
