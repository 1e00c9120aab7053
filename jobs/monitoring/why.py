"""Explains in one paragraph what a job is waiting for, by the facts that dispatch goes by."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from balancer.state.health import Circuit
from jobs.cost.affordable import FEWEST_LINES
from jobs.monitoring.overview import EndpointState, endpoint_states, serving_workers
from jobs.node import Node
from jobs.records import Job
from jobs.records.states import JobStatus, PauseReason

__all__ = ["Facts", "facts_about", "why", "why_now"]

SHOWN = 3
"""Endpoints or jobs that are named."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known: the endpoints that serve the job's models, each with its state; those that workers work for; its lines that
    endpoints have been given; the jobs that go before it, by id; and when (s since the epoch) this was."""

    serving: Sequence[EndpointState]
    worked_for: frozenset[str]
    given: int
    before: Sequence[str]
    now: float


async def why_now(node: Node, job: Job) -> str:
    """Say what a job waits for now. Raises RedisError."""
    return why(job, await facts_about(node, job))


async def facts_about(node: Node, job: Job) -> Facts:
    """Gather what is known. Raises RedisError."""
    await node.fleet.refresh_models()
    names = {name for model in job.asked_models for name in node.fleet.catalog.serving(model or None)}
    if job.endpoints:
        names &= set(job.endpoints)
    states = [state for state in await endpoint_states(node) if state.name in names]
    workers = await serving_workers(node)
    shards = [await node.service.shards.state(job.id, first) for first in await node.service.shards.open_of(job.id)]
    others = [other for other in await node.service.jobs.unfinished() if other.status is JobStatus.IN_PROGRESS]
    before = [other.id for other in others if other.priority > job.priority and not other.paused and other.cursor < other.places]
    given = len([shard for shard in shards if shard])
    return Facts(states, frozenset(name for served in workers.values() for name in served), given, before, time.time())


def why(job: Job, facts: Facts) -> str:
    """Return the paragraph."""
    if job.is_final:
        return f"The job is {job.status}: nothing of it is waited for."
    left = job.ledger.total - job.ledger.done
    if job.ending:
        what = "cancelled" if job.ending == "cancelled" else "at the end of its window"
        return f"The job is {what}: {left:,} lines are not finished, and what is in flight or with a provider is waited for."
    if job.status is JobStatus.FINALIZING:
        return "Every line is finished; the output is being put together."
    if job.paused:
        return _PAUSED[job.paused].format(cap=job.max_cost, canary=job.canary)
    return " ".join(part for part in (_progress(job, left), _reason(job, facts), _outlook(job, facts.now)) if part)


_PAUSED: Mapping[PauseReason, str] = {
    PauseReason.HELD: "The job was paused; `roadbalancer resume` lets it go on.",
    PauseReason.MAX_COST: "The job is paused: what it has cost has reached its cap of {cap} USD. A higher cap lets it go on.",
    PauseReason.CANARY: "The job is paused after its canary of {canary} requests; it goes on when that is confirmed.",
    PauseReason.KEY_BUDGET: "The job is paused: its key has spent its budget. It goes on when the day or month (UTC) is over.",
    PauseReason.KEY_REVOKED: "The job is paused: its key has been revoked.",
}


def _progress(job: Job, left: int) -> str:
    return f"{job.ledger.done:,} of {job.ledger.total:,} lines are finished, {left:,} are left."


def _reason(job: Job, facts: Facts) -> str:
    if job.waiting:
        again = job.waiting.next_attempt_at
        after = f" The next attempt is in {max(0.0, again - facts.now):.0f} s." if again else ""
        return f"It is waiting because {job.waiting.reason}.{after}"
    if not facts.serving:
        models = ", ".join(job.asked_models) or "its models"
        within = f" among {', '.join(job.endpoints)}" if job.endpoints else ""
        return f"No endpoint{within} serves {models}."
    usable = [state for state in facts.serving if state.health.usable and not state.draining]
    if not usable:
        return f"No endpoint that serves it can be used: {_listed(facts.serving)}."
    worked_for = [state for state in usable if state.name in facts.worked_for]
    if not worked_for:
        return f"No worker is running that serves {', '.join(state.name for state in usable[:SHOWN])}."
    return _bottleneck(job, facts, worked_for)


def _bottleneck(job: Job, facts: Facts, usable: Sequence[EndpointState]) -> str:
    if not facts.given and facts.before:
        first = ", ".join(facts.before[:SHOWN])
        more = f" and {len(facts.before) - SHOWN} more" if len(facts.before) > SHOWN else ""
        return f"Jobs of a higher priority go first: {first}{more}."
    if job.max_cost is not None and job.ledger.done < FEWEST_LINES:
        return "It begins with few lines at once, until it is known what a line costs: it has a cap."
    if job.key_rpm or job.key_tpm:
        rates = [f"{job.key_rpm:,} requests"] if job.key_rpm else []
        rates += [f"{job.key_tpm:,} tokens"] if job.key_tpm else []
        return f"Its lines are paced by the rates of its key: {' and '.join(rates)} a minute."
    full = [state for state in usable if state.in_flight >= 0.8 * state.limit.value]
    if full:
        return "Its endpoints are the bottleneck: " + ", ".join(
            f"{s.name} has {s.in_flight} of {s.limit.value} requests in flight" for s in full[:SHOWN]
        ) + "."  # fmt: skip
    return "Its lines are being sent."


def _outlook(job: Job, now: float) -> str:
    if job.late_at:
        return f"At the measured pace it is done {max(0.0, job.late_at - job.expires_at):.0f} s after the end of its window."
    if job.is_urgent:
        return "It is short of time, and goes before others of its priority."
    return "" if job.expires_at > now else "Its window is over."


def _listed(states: Sequence[EndpointState]) -> str:
    parts = []
    for state in states[:SHOWN]:
        health = state.health
        if state.draining:
            parts.append(f"{state.name} is being drained")
        elif health.circuit is Circuit.OPEN:
            parts.append(f"{state.name} fails ({health.last_error or 'unknown error'})")
        else:
            parts.append(f"{state.name} is limited for {max(health.limited_for, health.open_for):.0f} s")
    more = f", and {len(states) - SHOWN} more" if len(states) > SHOWN else ""
    return "; ".join(parts) + more
