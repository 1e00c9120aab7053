"""Formats validation errors: where and why, never with a key or a password."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from balancer.errors import ConfigurationError

__all__ = ["refusal"]

_KINDS_OF_VALUE = ("list[str]", "dict[str,str]")
"""Steps in pydantic's paths that tell between the types that a value may have; they don't stand in the file."""


def refusal(
    error: ValidationError,
    source: str,
    variables: Mapping[str, str] | None = None,
    schema: type[BaseModel] | None = None,
) -> ConfigurationError:
    """Return the error to raise for the first thing that pydantic found. `variables` are the keys that were read from
    the environment (those at the top, or paths), each with its variable's name (or nothing, if the path says it better). `schema`
    is what was asked for: it has the keys that a misspelt one may have meant."""
    first = error.errors()[0]
    path = _path_of(first["loc"])
    key = str(first["loc"][0]) if first["loc"] else ""
    if variables and (path in variables or key in variables):
        variable = variables.get(path) or variables.get(key)
        return ConfigurationError("environment", variable or path, _reason_of(first, schema))
    return ConfigurationError(source, path, _reason_of(first, schema))


def _path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in _KINDS_OF_VALUE:
            path += f".{step}" if path else step
    return path


def _reason_of(error: Any, schema: type[BaseModel] | None) -> str:
    if error["type"] == "extra_forbidden":
        meant = get_close_matches(str(error["loc"][-1]), _keys_at(schema, error["loc"][:-1]), n=1)
        return f"unknown key; {f'did you mean `{meant[0]}`?' if meant else 'docs/configuration.md lists all keys'}"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if {"api_key", "options"} & {*error["loc"]} or not isinstance(given, str | int | float | bool):
        return message
    return f"{message} (got {_without_password(given)!r})"


def _keys_at(schema: type[BaseModel] | None, path: Sequence[int | str]) -> list[str]:
    """Return the keys that are known at a path of a schema; none if it is not found."""
    for step in path:
        if isinstance(step, int) or schema is None:
            continue
        annotation = schema.model_fields[step].annotation if step in schema.model_fields else schema
        schema = next(_models_in(annotation), None)
    return [] if schema is None else [field.alias or name for name, field in schema.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _without_password(given: str | float) -> str | float:
    """Leave out what may be a password in an address."""
    return re.sub(r"(//|^)[^/]*@", r"\1…@", given) if isinstance(given, str) else given
