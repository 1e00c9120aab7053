"""Reads values of a request in Anthropic's format, and refuses what has another type or can't be served (pure)."""

from collections.abc import Collection, Mapping
from typing import Any

from producer_api.http.errors import ApiError, Problem

__all__ = ["known", "list_at", "object_at", "refused", "text_at"]


def refused(place: str, reason: str) -> ApiError:
    """Return the error for what stands at `place` in the request, such as `messages[2].content[0].source`."""
    return ApiError(Problem(400, f"{place}: {reason}", param=place, code="invalid_value"))


def object_at(value: Any, place: str) -> Mapping[str, Any]:
    """Return `value` if it is an object. Raises ApiError, as the others do."""
    if not isinstance(value, dict):
        raise refused(place, "must be an object")
    return value


def list_at(value: Any, place: str) -> list[Any]:
    """Return `value` if it is a list."""
    if not isinstance(value, list):
        raise refused(place, "must be a list")
    return value


def text_at(value: Any, place: str) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise refused(place, "must be a string")
    return value


def known(owner: Mapping[str, Any], fields: Collection[str], place: str) -> None:
    """Refuse a field that is not among `fields`, unless it is null; `place` is the owner's, "" for the request itself."""
    for name, value in owner.items():
        if value is not None and name not in fields:
            where = f"{place}.{name}" if place else name
            raise ApiError(Problem(400, f"{where}: is not supported here", param=where, code="unsupported_parameter"))
