"""Applies an endpoint's settings to a request: upstream model, defaults, the cap of `max_tokens`."""

from collections.abc import Mapping, Sequence
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.base import RequestRefused
from balancer.providers.kinds import CHAT_LIMITS
from balancer.routing.model_catalog import upstream_model

__all__ = ["apply_endpoint"]

LARGEST_TOKEN_LIMIT = 2**31 - 1
MOST_CHOICES = 64
"""Answers to one request (`n`)."""


def apply_endpoint(endpoint: Endpoint, body: Mapping[str, Any], limits: Sequence[str] = CHAT_LIMITS) -> Mapping[str, Any]:
    """Return `body` with the endpoint's model name and, if its answer is generated, its defaults and its token cap; `body` itself
    where nothing changes. `limits` are the fields that limit the tokens (see Kind); none if nothing is generated.

    Raises RequestRefused for a model that is no name, and for limits that are no counts: what slipped past the cap as a text or a
    float would be paid.
    """
    changes: dict[str, Any] = {}
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise RequestRefused("model", "must be a string")
    upstream = upstream_model(endpoint, model)
    if upstream is not None and upstream != model:
        changes["model"] = upstream
    if not limits:
        return {**body, **changes} if changes else body
    for name in limits:
        if body.get(name) is not None and not _is_count(body[name], LARGEST_TOKEN_LIMIT):
            raise RequestRefused(name, f"must be a whole number from 1 to {LARGEST_TOKEN_LIMIT:,}")
    if body.get("n") is not None and not _is_count(body["n"], MOST_CHOICES):
        raise RequestRefused("n", f"must be a whole number from 1 to {MOST_CHOICES}")
    if endpoint.max_tokens is not None:
        changes |= _token_limit(endpoint.max_tokens, body, limits)
    if endpoint.temperature is not None and body.get("temperature") is None:
        changes["temperature"] = endpoint.temperature
    return {**body, **changes} if changes else body


def _token_limit(cap: int, body: Mapping[str, Any], limits: Sequence[str]) -> dict[str, int]:
    asked: dict[str, int] = {name: body[name] for name in limits if body.get(name) is not None}
    if not asked:
        return {limits[-1]: cap}
    return {name: cap for name, limit in asked.items() if limit > cap}


def _is_count(value: Any, most: int) -> bool:
    return type(value) is int and 0 < value <= most
