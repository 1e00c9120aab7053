"""A request to the fleet and its options."""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from balancer.fleet.sent import Sent
from balancer.providers.kinds import CHAT_PATH
from balancer.runtime.record import record

__all__ = ["ModelRequest"]


@record(frozen=True, slots=True)
class ModelRequest:
    """An OpenAI request, for a chat or to another `path` (see balancer.providers.kinds), and on whose account it goes.

    `owner` is the id of the API key that it is counted for. `api_key` replaces the endpoint's own for this request alone, which
    then goes to none but the endpoints in `only`. `defaults` are fields that an endpoint gets if it takes them. `on_abandoned` is
    called with what was tried when the task that waits for the answer is cancelled.
    """

    body: Mapping[str, Any]
    owner: str = ""
    api_key: str | None = None
    only: frozenset[str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    on_abandoned: Callable[[Sent], None] | None = None
    path: str = CHAT_PATH
