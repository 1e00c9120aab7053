"""The lease table: who works on which shard. Every change is one atomic script, fenced by the shard's token."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import orjson

from balancer.outcome import Usage
from balancer.runtime.record import record
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Call, Scripts
from jobs.access.spending import spending_periods
from jobs.dispatch.planning import Plan
from jobs.dispatch.sizing import ReturnedRange
from jobs.errors import ShardIncomplete
from jobs.records import Shard, to_nano
from jobs.records.ids import new_token
from jobs.records.waiting import Waiting
from jobs.results.history import NO_HISTORY, LineHistory
from jobs.storage import keys
from jobs.storage.durability import make_durable

__all__ = ["LEASE", "QUEUE_LEASE", "Claim", "FinishedLine", "Order", "ShardTable"]

LEASE = 3.7
"""Seconds until a running shard that its worker no longer keeps is taken back."""
UNRENEWED = 1.2
"""Seconds without a renewal after which a shard is taken back from a worker whose connection is gone."""
QUEUE_LEASE = 8.0
"""Seconds until a shard whose message no worker has taken is reclaimed."""


@record(frozen=True, slots=True)
class FinishedLine:
    """A line that has come to its end: its number, the line for the output or the error file, its tokens, the endpoint that
    answered, what that cost in USD (None: unknown), and how much less than without the endpoint's cache. `repeats` counts the
    other lines that get its result; `hedged` says that it was sent to a second endpoint while the first was late."""

    number: int
    result: bytes
    failed: bool
    usage: Usage
    endpoint: str = ""
    cost: float | None = None
    saved: float = 0.0
    repeats: int = 0
    hedged: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of a claim: the shard, or None with the reason `stale` or `stopped`."""

    shard: Shard | None
    reason: str = ""


class Order(StrEnum):
    """What a worker should do with its shard."""

    GO = "go"
    STOP = "stop"
    """The job is paused, or has been cancelled or has expired: hand the shard back."""
    END = "end"
    """The job has been cancelled or has expired: hand the shard back soon, whatever is in flight."""
    LOST = "lost"
    """The shard belongs to another worker now: drop it."""


class ShardTable:
    """Cuts, claims, keeps, records, commits and returns shards."""

    def __init__(self, redis: AsyncRedis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def reserve(self, plan: Plan, version: str) -> list[Shard] | None:
        """Cut the planned shards off their jobs and lease them; None if things have changed since the plan was made."""
        shards = [Shard(p.job_id, p.first, p.end, p.endpoint, new_token(), p.attempt) for p in plan.shards]
        script_keys = [keys.TURNS, keys.LEASES, keys.READY]
        args: list[str | int | float | bytes] = [version, int(QUEUE_LEASE * 1000), orjson.dumps(plan.turns), len(shards)]
        for planned, shard in zip(plan.shards, shards, strict=True):
            job_id, first = shard.job_id, shard.first
            script_keys += [
                keys.job(job_id), keys.open_shards(job_id), keys.returned(job_id), keys.shard(job_id, first),
                keys.open_lines(shard.endpoint),
            ]  # fmt: skip
            came_back = planned.returned.member if planned.came_back else ""
            blamed = "" if planned.blamed is None else planned.blamed
            args += [job_id, first, shard.end, shard.endpoint, shard.token, shard.attempt, came_back, planned.lost, blamed]
        done = await self._scripts.run("reserve", script_keys, args)
        return shards if done else None

    async def claim(self, job_id: str, first: int, end: int, token: str, claimant: str) -> Claim:
        """Take a queued shard for work. `claimant` tells one execution of a message from another."""
        script_keys = (keys.shard(job_id, first), keys.LEASES, keys.job(job_id))
        args = (token, keys.shard_member(job_id, first), claimant, int(LEASE * 1000))
        answer = [part.decode() for part in await self._scripts.run("claim", script_keys, args)]
        if answer[0] == "claimed":
            blamed = int(answer[4]) if answer[4] else None
            return Claim(Shard(job_id, first, end, answer[2], token, int(answer[1]), int(answer[3]), blamed))
        return Claim(None, answer[0])

    async def renew(self, shards: Sequence[Shard]) -> list[Order]:
        """Keep running shards for another lease, in one round trip."""
        calls: list[Call] = []
        for shard in shards:
            script_keys = (keys.shard(shard.job_id, shard.first), keys.LEASES, keys.job(shard.job_id))
            calls.append(("renew", script_keys, (shard.token, _member(shard), int(LEASE * 1000))))
        return [Order(answer.decode()) for answer in await self._scripts.run_many(calls)]

    async def suspect(self, shard: Shard, number: int | None) -> bool:
        """Say which line runs alone now (None: none does), and whether the shard is still this worker's."""
        args = (shard.token, "" if number is None else number)
        return bool(await self._scripts.run("suspect", (keys.shard(shard.job_id, shard.first),), args))

    async def finished(self, shard: Shard) -> dict[int, tuple[bool, bytes]]:
        """Return what has been recorded of a shard: line number -> (failed, result)."""
        return await self.recorded(shard.job_id, shard.first)

    async def recorded(self, job_id: str, first: int) -> dict[int, tuple[bool, bytes]]:
        """Return what has been recorded of the shard that begins at line `first`."""
        fields = await self._redis.hgetall(keys.buffer(job_id, first))
        return {int(number): (value[:1] == b"1", value[1:]) for number, value in fields.items()}

    async def record(self, groups: Sequence[tuple[Shard, Sequence[FinishedLine]]]) -> list[Order]:
        """Keep finished lines of several shards in one round trip, and say what to do with each shard.

        With GO and STOP its lines are kept; with LOST they are not.
        """
        calls: list[Call] = []
        periods = spending_periods(time.time())
        for shard, lines in groups:
            args: list[str | int | float | bytes] = [shard.token, _member(shard), *periods]
            for line in lines:
                u = line.usage
                cost = "-" if line.cost is None else to_nano(line.cost)
                spent = f"{u.prompt}:{u.completion}:{u.cached}:{u.reasoning}:{cost}:{to_nano(line.saved)}:{line.hedged:d}"
                args += [line.number, (b"1" if line.failed else b"0") + line.result, spent, line.endpoint, 1 + line.repeats]
            job_id, first = shard.job_id, shard.first
            script_keys = (keys.shard(job_id, first), keys.buffer(job_id, first), keys.job(job_id), keys.READY)
            calls.append(("record", script_keys, args))
        return [Order(answer.decode()) for answer in await self._scripts.run_many(calls)]

    async def commit(self, shard: Shard) -> tuple[bool, bool]:
        """Close a shard whose part is written: (whether it was ours, whether it was the job's last).

        Raises ShardIncomplete if Redis has lost recorded lines. A repeated commit, after a broken connection, finds the shard
        gone and says that it was not ours; that is harmless.
        """
        job_id = shard.job_id
        script_keys = (
            keys.shard(job_id, shard.first), keys.buffer(job_id, shard.first), keys.LEASES, keys.open_shards(job_id),
            keys.job(job_id), keys.returned(job_id), keys.histories(job_id),
        )  # fmt: skip
        answer = await self._scripts.run("commit", script_keys, (shard.token, _member(shard), shard.first))
        if answer[0] == b"incomplete":
            raise ShardIncomplete(_member(shard), int(answer[1]), shard.lines)
        return answer[0] == b"committed", answer[0] == b"committed" and bool(answer[1])

    async def give_back(self, job_id: str, first: int, token: str = "", only_if: str = "") -> bool:
        """Take a shard from its endpoint, so that it is cut again; what it has recorded stays.

        `only_if` is `expired` (its lease is over), `queued` (no worker has it), `unreachable` (its batches can't be polled any
        more) or nothing. But for the last, a shard with batches at a provider stays as it is.
        """
        script_keys = (keys.shard(job_id, first), keys.LEASES, keys.open_shards(job_id), keys.returned(job_id))
        member = keys.shard_member(job_id, first)
        return bool(await self._scripts.run("give_back", script_keys, (token, member, first, only_if)))

    async def batches(self, shard: Shard) -> bytes:
        """Return what `keep_batches` has kept, nothing if none of its lines are with a provider."""
        return await self._redis.hget(keys.shard(shard.job_id, shard.first), "batch") or b""

    async def keep_batches(self, shard: Shard, batches: bytes, durably: bool = False) -> bool:
        """Keep what is known of a shard's batches at their provider, nothing if there are none (any more), and say whether the
        shard is still this worker's. As long as there is something, the shard is not cut again. `durably` waits for the disk."""
        kept = bool(await self._scripts.run("keep_batch", (keys.shard(shard.job_id, shard.first),), (shard.token, batches)))
        if kept and durably:
            await make_durable(self._redis)
        return kept

    async def end_batches(self, shard: Shard, reason: str) -> None:
        """Have the lines of a shard's job sent one by one from now on."""
        await self._redis.hset(keys.job(shard.job_id), "no_batches", reason)

    async def batches_at(self, endpoint: str) -> list[bytes]:
        """Return what is kept of the batches of all shards that an endpoint has been given as batches."""
        members = [member.decode() for member in await self._redis.hkeys(keys.open_lines(endpoint))]
        async with self._redis.pipeline(transaction=False) as pipe:
            for member in members:
                pipe.hget(keys.shard(*_parse_member(member)), "batch")
            return [kept for kept in await pipe.execute() if kept]

    async def requeue(
        self,
        job_id: str,
        first: int,
        token: str = "",
        after: float = 0.0,
        why: Waiting | None = None,
        only_if: str = "",
        gone: str = "",
    ) -> Shard | None:
        """Put a shard with batches at a provider back into its queue, to be claimed `after` so many seconds, and return it; None
        if it has none. `only_if` is `expired` (its lease is over), `gone` (the worker process `gone` has it), `waiting` (it
        is to be claimed much later) or nothing."""
        new, member = new_token(), keys.shard_member(job_id, first)
        args = (token, member, new, int((after + QUEUE_LEASE) * 1000), why.to_json() if why else "", only_if, gone)
        script_keys = (keys.shard(job_id, first), keys.LEASES, keys.job(job_id))
        found = await self._scripts.run("requeue", script_keys, args)
        return Shard(job_id, first, int(found[1]), found[0].decode(), new) if found else None

    async def histories(self, shard: Shard) -> dict[int, LineHistory]:
        """Return what has been tried for lines of a shard so far, by number; those without anything are left out."""
        numbers = range(shard.first, shard.end)
        kept = await self._redis.hmget(keys.histories(shard.job_id), [str(number) for number in numbers])
        return {number: LineHistory.from_json(raw) for number, raw in zip(numbers, kept, strict=True) if raw}

    async def held_by(self, process: str) -> list[tuple[str, int]]:
        """Return the running shards (job, first line) that a worker process has claimed."""
        members = [_parse_member(member.decode()) for member in await self._redis.zrange(keys.LEASES, 0, -1)]
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id, first in members:
                pipe.hmget(keys.shard(job_id, first), "state", "claim")
            states = await pipe.execute()
        claimed = f"{process}/".encode()
        held = [state == b"running" and (claim or b"").startswith(claimed) for state, claim in states]
        return [member for member, is_held in zip(members, held, strict=True) if is_held]

    async def take_from_gone(self, job_id: str, first: int, process: str) -> bool:
        """Take a shard back from a worker that is gone, unless it has renewed its lease a moment ago."""
        script_keys = (keys.shard(job_id, first), keys.LEASES, keys.open_shards(job_id), keys.returned(job_id))
        args = ("", keys.shard_member(job_id, first), first, "gone", process, int(UNRENEWED * 1000), int(LEASE * 1000))
        return bool(await self._scripts.run("give_back", script_keys, args))

    async def send_to_wait(
        self, shard: Shard, endpoint: str, histories: Mapping[int, LineHistory], countdown: float, why: Waiting
    ) -> Shard | None:
        """Lease a shard for its next attempt, `countdown` seconds from now, and return it; None if it is not ours.

        `histories` has what was tried for each waiting line; `why` is the reason that the job shows.
        """
        attempt = max((history.passes for history in histories.values()), default=shard.attempt)
        waiting = replace(shard, endpoint=endpoint, attempt=attempt, token=new_token())
        job_id = shard.job_id
        script_keys = (keys.shard(job_id, shard.first), keys.LEASES, keys.job(job_id), keys.histories(job_id))
        lease = int((countdown + QUEUE_LEASE) * 1000)
        kept = [part for number, each in histories.items() if each != NO_HISTORY for part in (number, each.to_json())]
        args: list[str | int | bytes] = [
            shard.token,
            _member(shard),
            waiting.token,
            endpoint,
            attempt,
            lease,
            why.to_json(),
            *kept,
        ]
        return waiting if await self._scripts.run("retry", script_keys, args) else None

    async def is_all_cut(self, job_id: str) -> bool:
        """Whether every line of a job has been given to an endpoint."""
        cursor, total = await self._redis.hmget(keys.job(job_id), "cursor", "total")
        return int(cursor or 0) >= int(total or 0)

    async def overdue(self, now: float) -> list[tuple[str, int]]:
        """Return the shards (job, first line) whose lease is over."""
        members = await self._redis.zrangebyscore(keys.LEASES, 0, now * 1000, start=0, num=1000)
        return [_parse_member(member.decode()) for member in members]

    async def state(self, job_id: str, first: int) -> dict[str, str]:
        """Return a shard's record as text, empty if there is none."""
        fields = await self._redis.hgetall(keys.shard(job_id, first))
        return {name.decode(): value.decode() for name, value in fields.items()}

    async def forget_lease(self, job_id: str, first: int) -> None:
        """Remove a lease that no shard belongs to. If one has come since, it is left alone."""
        await self.give_back(job_id, first, only_if="expired")

    async def extend(self, job_id: str, first: int, until: float) -> None:
        """Look after a queued shard at `until` (s) again."""
        await self._redis.zadd(keys.LEASES, {keys.shard_member(job_id, first): int(until * 1000)}, xx=True)

    async def open_of(self, job_id: str) -> list[int]:
        """Return the first lines of a job's open shards."""
        return sorted(int(first) for first in await self._redis.smembers(keys.open_shards(job_id)))

    async def returned_of(self, job_id: str) -> list[tuple[int, int]]:
        """Return the ranges of a job that came back and are not cut again."""
        ranges = await self._redis.zrange(keys.returned(job_id), 0, -1)
        found = [ReturnedRange.parse(member.decode()) for member in ranges]
        return [(each.first, each.end) for each in found]


def _member(shard: Shard) -> str:
    return keys.shard_member(shard.job_id, shard.first)


def _parse_member(member: str) -> tuple[str, int]:
    job_id, _, first = member.rpartition(":")
    return job_id, int(first)
