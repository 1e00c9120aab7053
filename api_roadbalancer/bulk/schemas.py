"""What a schema makes of a request and of its answers."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from jobs.checks.answer_checks import parse_checks
from jobs.errors import InvalidRequest

__all__ = ["is_model", "kept_checks", "response_format"]


def kept_checks(schema: Any, checks: Sequence[str | Mapping[str, Any]], recheck: Mapping[str, Any] | None) -> str:
    all_checks = [*([{"schema": _json_schema(schema)}] if schema is not None else []), *checks]
    return parse_checks(all_checks, {"feedback": True, **(recheck or {})} if all_checks else recheck)


def response_format(schema: Any) -> dict[str, Any]:
    described = _json_schema(schema)
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", str(described.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": described}}


def _json_schema(schema: Any) -> Mapping[str, Any]:
    if isinstance(schema, Mapping):
        return schema
    if is_model(schema):
        described: Mapping[str, Any] = schema.model_json_schema()
        return described
    raise InvalidRequest(f"schema is a pydantic model or a JSON schema, not {schema!r}")


def is_model(schema: Any) -> bool:
    return isinstance(schema, type) and issubclass(schema, BaseModel)
