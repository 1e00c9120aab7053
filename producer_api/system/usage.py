"""`/api/v1/usage`: usage and cost."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from balancer.usage.query import DEFAULT_DAYS, GROUPS, LONGEST_SPAN, InvalidUsageQuery, UsageQuery, usage_query
from balancer.usage.report import UsageReport, UsageSum, usage_report
from producer_api.access.callers import CurrentCaller
from producer_api.context import Api
from producer_api.http.errors import ApiError, Problem
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(tags=["system"], responses=errors(401, 422, 500, 503))

_MOST_CHARACTERS = 100
"""Of a query parameter: more than any good one has."""


class UsageTokens(BaseModel):
    """Tokens as the endpoints counted them. `cached` ones are part of `input`, `reasoning` ones of `output`."""

    input: int
    cached: int
    output: int
    reasoning: int
    total: int


class UsageLatency(BaseModel):
    """Seconds that successful requests took (streams: until their first chunk); null where there was none. The percentiles are
    estimates."""

    average: float | None
    p50: float | None
    p95: float | None


class UsageObject(BaseModel):
    """What some requests used; those fields of `day`, `provider`, `model`, `endpoint`, `key`, `source` and `tier` that were not
    asked for are null.

    Every attempt at an endpoint is a request. `cost` is in USD, without the `unpriced_requests`, whose price is not known; it is
    null if that is all of them.
    """

    day: str | None = Field(description="UTC, as YYYY-MM-DD")
    provider: str | None = Field(description="the endpoint's wire format")
    model: str | None = Field(description="the name that the endpoint was asked for")
    endpoint: str | None = Field(description="the endpoint's name")
    key: str | None = Field(description="id of the API key that the request came with; empty for one without")
    source: str | None = Field(description="`jobs`, `hedges` (lines of jobs sent once more), or empty: what was answered at once")
    tier: str | None = Field(description="the class of processing, where it is not the standard one")
    requests: int
    errors: int
    tokens: UsageTokens
    cost: float | None
    unpriced_requests: int
    guessed_requests: int = Field(description="those whose tokens are a guess: the endpoint has not reported all of them")
    latency: UsageLatency

    @classmethod
    def of(cls, some: UsageSum) -> "UsageObject":
        """Make it of a sum."""
        return cls(
            **{name: some.group.get(name) for name in GROUPS},
            requests=some.requests,
            errors=some.errors,
            tokens=UsageTokens(
                input=some.input_tokens,
                cached=some.cached_tokens,
                output=some.output_tokens,
                reasoning=some.reasoning_tokens,
                total=some.input_tokens + some.output_tokens,
            ),
            cost=some.cost,
            unpriced_requests=some.unpriced_requests,
            guessed_requests=some.guessed_requests,
            latency=UsageLatency(average=some.latency, p50=some.latency_p50, p95=some.latency_p95),
        )


class UsageList(BaseModel):
    """The sums of the days `first_day` to `last_day`, in the order of their groups, and the `total` of them all."""

    object: Literal["list"] = "list"
    first_day: str
    last_day: str
    by: list[str]
    data: list[UsageObject]
    total: UsageObject

    @classmethod
    def of(cls, report: UsageReport) -> "UsageList":
        """Make it of a report."""
        query = report.query
        return cls(
            first_day=query.first.isoformat(),
            last_day=query.last.isoformat(),
            by=list(query.by),
            data=[UsageObject.of(row) for row in report.rows],
            total=UsageObject.of(report.total),
        )


_FIRST = f"First day (UTC), as YYYY-MM-DD; left out: {DEFAULT_DAYS} days up to `to`. At most {LONGEST_SPAN} days at a time."
_LAST = "Last day (UTC), included; left out: today."
_BY = f"The groups of the sums: one or more of {', '.join(GROUPS)}, by comma."


@router.get("/usage", summary="Requests, tokens, cost and latency by day, provider, model, endpoint and key")
async def read_usage(
    api: Api,
    caller: CurrentCaller,
    first: Annotated[str | None, Query(alias="from", description=_FIRST, max_length=_MOST_CHARACTERS)] = None,
    last: Annotated[str | None, Query(alias="to", description=_LAST, max_length=_MOST_CHARACTERS)] = None,
    by: Annotated[str, Query(description=_BY, max_length=_MOST_CHARACTERS)] = "day",
) -> UsageList:
    """Return what all processes have used, for keys that are no admins with that key alone; what they did in the last half second
    may not be in it."""
    query = replace(_query(first, last, by), key=caller.sees_only)
    return UsageList.of(await usage_report(api.node.redis, query))


def _query(first: str | None, last: str | None, by: str) -> UsageQuery:
    try:
        return usage_query(first, last, by, datetime.now(UTC).date())
    except InvalidUsageQuery as exc:
        raise ApiError(Problem(422, str(exc), param=exc.field, code="invalid_value")) from exc
