"""What a server's API answers, as the records that commands show."""

from collections.abc import Mapping
from typing import Any

from api_roadbalancer.remote.server import ServerRefused
from balancer.state.concurrency import Limit, LimitedBy
from balancer.state.health import Circuit, Health
from balancer.usage.query import GROUPS, UsageQuery
from balancer.usage.report import UsageReport, UsageSum
from jobs.access.record import KeyRecord, Limits
from jobs.monitoring.overview import EndpointState
from jobs.records import BACKGROUND, BadLine, Job, Ledger, Tokens
from jobs.records.states import JobStatus, PauseReason
from jobs.records.waiting import Waiting

__all__ = ["endpoint_of", "job_of", "key_of", "usage_of"]

Answer = Mapping[str, Any]


def job_of(found: Answer) -> Job:
    """Make a job of what `/api/v1/jobs` shows. What is known to the server alone has its default. Raises ServerRefused."""
    try:
        return _job_of(found)
    except (KeyError, TypeError, ValueError) as exc:
        raise _unknown_form("job", exc) from exc


def _job_of(found: Answer) -> Job:
    counts, tokens, cost, times = found["counts"], found["tokens"], found["cost"], found["timestamps"]
    waiting = found["waiting"]
    pause = found["paused"]
    return Job(
        id=found["id"],
        status=JobStatus(found["status"]),
        input_file_id=found["input_file_id"],
        path="",
        window="",
        created_at=times["created_at"],
        expires_at=times["expires_at"],
        ledger=Ledger(*(counts[name] for name in ("total", "completed", "failed", "cancelled", "expired"))),
        priority=BACKGROUND if found["background"] else found["priority"],
        late_at=found["late_at"],
        models=tuple(found["models"]),
        metadata=found["metadata"],
        tokens=Tokens(tokens["input"], tokens["output"], tokens["cached"], tokens["reasoning"]),
        cost=cost["usd"],
        saved=cost["saved_by_cache"],
        hedged=found.get("hedged_lines", 0),  # servers of before do not say
        unpriced=cost["unpriced_lines"],
        max_cost=found["max_cost"],
        canary=found["canary"] or 0,
        price_class=found["price_class"] or "",
        paused=PauseReason(pause["reason"]) if pause else None,
        waiting=Waiting(waiting["reason"], waiting["next_attempt_at"]) if waiting else None,
        shares=found["endpoints"],
        retries=found["retries"],
        errors=tuple(BadLine(**each) for each in found["errors"]),
        output_file_id=found["output_file_id"],
        error_file_id=found["error_file_id"],
        groups_prefixes=found["ordered"],
        repeats=found["repeats"],
        earlier=tuple(found["earlier"]),
        times={name: at for name, at in times.items() if at is not None and name not in ("created_at", "expires_at")},
    )


def endpoint_of(found: Answer) -> EndpointState:
    """Make an endpoint of what `/api/v1/endpoints` shows. Raises ServerRefused."""
    try:
        return EndpointState(
            name=found["name"],
            health=Health(
                circuit=Circuit(found["circuit"]),
                latency=found["latency"],
                completed=found["ok"],
                failed=found["failed"],
                last_error=found["last_error"] or "",
            ),
            in_flight=found["in_flight"],
            limit=Limit(found["max_concurrency"], LimitedBy(found["limited_by"]) if found["limited_by"] else None),
            open_lines=found["open_lines"],
            queued=found["queued"],
            draining=found["draining"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise _unknown_form("endpoint", exc) from exc


def key_of(found: Answer) -> KeyRecord:
    """Make a key of what `/api/v1/keys` shows, without its digest. Raises ServerRefused."""
    try:
        return KeyRecord(
            id=found["id"],
            name=found["name"],
            digest="",
            created_at=found["created_at"],
            expires_at=found["expires_at"],
            last_used_at=found["last_used_at"],
            models=tuple(found["models"]),
            limits=Limits(**found["limits"]),
            admin=found["admin"],
            revoked=found["revoked"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise _unknown_form("key", exc) from exc


def usage_of(found: Answer, query: UsageQuery) -> UsageReport:
    """Make a report of what `/api/v1/usage` shows. Raises ServerRefused."""
    try:
        return UsageReport(query, [_sum_of(each) for each in found["data"]], _sum_of(found["total"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise _unknown_form("usage", exc) from exc


def _sum_of(found: Answer) -> UsageSum:
    tokens, latency = found["tokens"], found["latency"]
    return UsageSum(
        group={name: found[name] for name in GROUPS if found[name] is not None},
        requests=found["requests"],
        errors=found["errors"],
        input_tokens=tokens["input"],
        output_tokens=tokens["output"],
        cached_tokens=tokens["cached"],
        reasoning_tokens=tokens["reasoning"],
        cost=found["cost"],
        unpriced_requests=found["unpriced_requests"],
        guessed_requests=found["guessed_requests"],
        latency=latency["average"],
        latency_p50=latency["p50"],
        latency_p95=latency["p95"],
    )


def _unknown_form(what: str, error: Exception) -> ServerRefused:
    return ServerRefused(f"the server's answer about a {what} is not in a form that this version knows: {error!r}")
