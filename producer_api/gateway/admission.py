"""Admits chat requests: the key's models, rate limits and budget; and records what they used."""

from collections.abc import Mapping
from typing import Any, Self

from fastapi import Request

from balancer.fleet.sent import Sent
from balancer.state.rate_limits.shared import expected_usage
from jobs.access import Access, Admission, Caller
from jobs.access.destination import drop_destination
from jobs.cost.cap import highest_cost
from jobs.intake.media_urls import MediaUrls, allowed, media_sources, refusal_of
from producer_api.access.callers import caller_of
from producer_api.context import ApiContext
from producer_api.http.errors import ApiError, Problem

__all__ = ["Admitted", "admit"]


class Admitted:
    """One request of one caller, admitted. Use as an async context manager, or call `release`; a second time does nothing."""

    def __init__(self, access: Access, request: Request, admission: Admission) -> None:
        self._access = access
        self._state: dict[str, Any] = request.scope["state"]
        self._caller = caller_of(request)
        self._admission = admission
        self._tokens = 0
        self._nano: int | None = None

    @property
    def owner(self) -> str:
        """The id of the key that the request is counted for."""
        return self._caller.id

    @property
    def headers(self) -> dict[str, str]:
        """What is left of the key's rates, as OpenAI's headers tell it."""
        return self._admission.headers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.release()

    def spent(self, sent: Sent) -> None:
        """Take in what the request's attempts have used."""
        self._state["sent"] = sent
        self._tokens, self._nano = sent.tokens, sent.nano_cost

    async def release(self) -> None:
        """Give back what it holds, and record what it used."""
        await self._access.finish(self._caller, self._admission, self._tokens, self._nano)


async def admit(api: ApiContext, request: Request, body: dict[str, Any]) -> Admitted:
    """Let a request in, at once and for one request; without what its caller may not choose. Raises jobs.access.Refused (403,
    429), and ApiError (400) for a link that callers may not have."""
    caller = caller_of(request)
    _check_media(api.node.configuration.media_urls, body)
    if caller.is_restricted:
        drop_destination(body)
    model = _allowed(api, caller, body)
    request.scope["state"]["model"] = model
    limits = caller.limits
    if limits is None or (limits.tpm is None and not limits.has_budget):
        return Admitted(api.access, request, await api.access.admit(caller, model, 0))
    usage = expected_usage(body)
    nano = 0
    if limits.has_budget:
        models = [name or "" for name in api.node.fleet.catalog.routes.models_for(body)]
        nano = round(highest_cost(api.node.fleet, models, usage))
    return Admitted(api.access, request, await api.access.admit(caller, model, usage.prompt + usage.completion, nano))


def _check_media(policy: MediaUrls, body: Mapping[str, Any]) -> None:
    for place, source in media_sources(body):
        if not allowed(policy, source):
            raise ApiError(Problem(400, f"{place}: {refusal_of(policy, source)}", param=place, code="media_url_refused"))


def _allowed(api: ApiContext, caller: Caller, body: Mapping[str, Any]) -> str | None:
    """Return a name that stands for the request's models and that the caller may use. Raises Refused.

    A caller may use an alias or a chain whose own name it may use, or each of whose models.
    """
    named = body.get("model")
    if not caller.models or (isinstance(named, str) and caller.may_use(named) and "models" not in body):
        return named if isinstance(named, str) else None
    behind = [model or "" for model in api.node.fleet.catalog.routes.models_for(body)]
    caller.check_models(behind)
    return behind[0]
