"""Stores the records of jobs in Redis."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts
from balancer.state.slots.fair_queue import BACKGROUND
from jobs.access.refusals import Refusal, Refused
from jobs.access.spending import spending_periods
from jobs.errors import InvalidRequest, NotFound
from jobs.intake.files import ids_after
from jobs.intake.requests import NewJob
from jobs.records import NANO, Job, decode_fields, to_nano
from jobs.records.ids import is_job_id, new_job_id
from jobs.records.states import JobStatus, PauseReason
from jobs.records.waiting import Waiting
from jobs.storage import keys
from jobs.storage.durability import make_durable
from jobs.storage.lock import Lock

__all__ = ["JobStore", "job_scripts"]


def job_scripts(redis: AsyncRedis) -> Scripts:
    """Return the Lua scripts of this package."""
    return Scripts(redis, Path(__file__).parent / "lua")


class JobStore:
    """Opens, finds, stops and ends jobs."""

    def __init__(self, redis: AsyncRedis, scripts: Scripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def open(self, new: NewJob) -> Job:
        """Open a job; one with errors is refused: it is kept as failed and nothing of it is sent.

        A job that exists already is returned as it is.
        """
        now = int(time.time())
        refused = bool(new.errors)
        file, request = new.input, new.request
        job_id, caller = request.job_id or new_job_id(), request.caller
        limits, priority = caller.limits, BACKGROUND if request.background else request.priority
        fields: dict[str, str | int | float] = {
            "status": JobStatus.FAILED if refused else JobStatus.IN_PROGRESS,
            "file": file.id,
            "path": request.path,
            "window": request.window,
            "created_at": now,
            "expires_at": now + int(new.window_seconds),
            "total": 0 if refused else file.lines or 0,
            "cursor": 0,
            "bytes": file.size,
            "priority": priority,
            "ordered": int(file.ordered and request.order == "auto"),
            "models": orjson.dumps([m for m in file.models if m]).decode(),
            "names_no_model": int("" in file.models),
            "metadata": orjson.dumps(request.metadata).decode(),
            "errors": orjson.dumps([e.as_dict() for e in new.errors]).decode(),
            "owner": caller.id,
            "failed_at" if refused else "in_progress_at": now,
        }
        if (first := new.first_round) is not None:
            fields |= {"round": first.folder, "first_lines": first.first_lines, "total": first.lines}
            fields |= {"repeats": first.repeats, "bytes": first.bytes}
            if first.canary:
                fields["canary"] = first.canary
        fields |= _optional_fields(new)
        flat = [part for pair in fields.items() for part in pair]
        state = "" if refused else "ready"
        indexes = (keys.jobs_of(caller.id),) if caller.id else ()
        job_keys = (keys.job(job_id), keys.JOBS, keys.READY, keys.UNFINISHED, *indexes)
        most = "" if limits is None or limits.jobs is None else limits.jobs
        opened = await self._scripts.run("open_job", job_keys, (job_id, f"{time.time():.6f}", priority, state, most, *flat))
        if opened < 0:
            raise _too_many_jobs(most)
        await self.make_durable()
        return await self.get(job_id)

    async def exists(self, job_id: str | None) -> bool:
        """Whether there is a job with this id."""
        return job_id is not None and bool(await self._redis.exists(keys.job(job_id)))

    async def make_durable(self) -> None:
        """Wait until Redis has what was written on its disk, where it can say so (Redis 7.2 and Valkey, with AOF)."""
        await make_durable(self._redis)

    async def get(self, job_id: str, owner: str | None = None) -> Job:
        """Look a job up, among those of `owner` if that is given. Raises NotFound."""
        fields = await self._redis.hgetall(keys.job(job_id)) if is_job_id(job_id) else {}
        job = Job.from_fields(job_id, decode_fields(fields)) if fields else None
        if job is None or owner not in (None, job.owner):
            raise NotFound("batch", job_id)
        return job

    async def page(self, limit: int, after: str | None = None, owner: str | None = None) -> tuple[list[Job], bool]:
        """List jobs, newest first, those after the job `after`, and say whether there are more. Raises NotFound for `after`.

        With an `owner`, only its jobs are listed.
        """
        index = keys.JOBS if owner is None else keys.jobs_of(owner)
        ids = await ids_after(self._redis, index, after, newest_first=True, kind="batch")
        found = [await self.get(job_id) for job_id in ids[:limit]]
        return found, len(ids) > limit

    async def unfinished(self) -> list[Job]:
        """Return the jobs that are not final, oldest first."""
        ids = sorted(i.decode() for i in await self._redis.smembers(keys.UNFINISHED))
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(keys.job(job_id))
            records = await pipe.execute()
        found = [Job.from_fields(i, decode_fields(fields)) for i, fields in zip(ids, records, strict=True) if fields]
        return sorted((job for job in found if not job.is_final), key=lambda job: job.created_at)

    async def stop(self, job_id: str, ending: str) -> Job:
        """Stop a job: no more of its lines are cut. `ending` is `cancelled` or `expired`. Raises NotFound."""
        await self.get(job_id)
        await self._scripts.run("stop_job", (keys.job(job_id), keys.READY), (job_id, ending, int(time.time())))
        await self.make_durable()
        return await self.get(job_id)

    async def limit_cost(self, job_id: str, max_cost: float | None) -> Job:
        """Set or lift (None) the cap on what a job may cost, in USD. One that was paused at its cap goes on.

        Raises NotFound, and InvalidRequest if so much is spent already or the job is not in progress any more.
        """
        job = await self.get(job_id)
        cap = "" if max_cost is None else to_nano(max_cost)
        args = (job_id, cap, *spending_periods(time.time()))
        answer = await self._scripts.run("limit_cost", (keys.job(job_id), keys.READY), args)
        match answer:
            case [b"missing"]:
                raise NotFound("batch", job_id)
            case [b"ended", status]:
                raise InvalidRequest(f"{job_id} is {status.decode()}: its cap can't be changed any more", "max_cost")
            case [b"spent", spent]:
                message = f"{job_id} has cost ${int(spent) / NANO:.6f} already: max_cost must be more than that"
                raise InvalidRequest(message, "max_cost", "max_cost_spent")
        await self.make_durable()
        return await self.get(job.id)

    async def end_canary(self, job_id: str) -> Job:
        """Let a job go on beyond its canary. Raises NotFound, and InvalidRequest if it has none (any more)."""
        job = await self.get(job_id)
        args = (job_id, *spending_periods(time.time()))
        if not await self._scripts.run("end_canary", (keys.job(job_id), keys.READY), args):
            raise InvalidRequest(f"{job.id} has no canary to confirm", "canary", "no_canary")
        await self.make_durable()
        return await self.get(job_id)

    async def steer(self, job_id: str, fields: Mapping[str, str | int]) -> Job:
        """Change fields of a job in progress: see steer.lua. Raises NotFound, and InvalidRequest if it is not in progress any
        more."""
        flat = [part for pair in fields.items() for part in pair]
        args = (job_id, *spending_periods(time.time()), *flat)
        match await self._scripts.run("steer", (keys.job(job_id), keys.READY), args):
            case [b"missing"]:
                raise NotFound("batch", job_id)
            case [b"ended", status]:
                raise InvalidRequest(f"{job_id} is {status.decode()}: it can't be changed any more", None, "job_not_in_progress")
        await self.make_durable()
        return await self.get(job_id)

    async def refresh_pause(self, job_id: str) -> PauseReason | None:
        """Pause a job, or let it go on, as its cap and its key's budget say now, and return why it is paused."""
        args = (job_id, *spending_periods(time.time()))
        reason = (await self._scripts.run("update_pause", (keys.job(job_id), keys.READY), args)).decode()
        return PauseReason(reason) if reason else None

    async def unfinished_of(self, owner: str) -> list[str]:
        """Return the ids of a key's jobs that are not final."""
        found = await self._redis.zinter([keys.jobs_of(owner), keys.UNFINISHED])
        return [job_id.decode() for job_id in found]

    async def begin_finalizing(self, job: Job) -> None:
        """Say that the output is being put together."""
        await self._scripts.run("begin_finalizing", (keys.job(job.id),), (int(time.time()),))

    async def reopen(self, job: Job, ranges: Sequence[tuple[int, int]]) -> bool:
        """Let a job that is being finalized go on with ranges of lines whose results are gone, and say whether it does."""
        members: list[str | int] = []
        for first, end in ranges:
            members += [f"{first}:{end}:0", first]
        args = (job.id, sum(end - first for first, end in ranges), *members)
        job_keys = (keys.job(job.id), keys.READY, keys.returned(job.id))
        return bool(await self._scripts.run("reopen", job_keys, args))

    async def begin_round(self, job: Job, fields: dict[str, str | int], most: int | None = None) -> bool:
        """Let an ended job go on with `fields` of its record, and say whether it does: not if it is under way meanwhile.

        Raises Refused if its owner has `most` unfinished jobs already.
        """
        flat = [part for pair in fields.items() for part in pair]
        indexes = (keys.jobs_of(job.owner),) if job.owner else ()
        job_keys = (keys.job(job.id), keys.READY, keys.UNFINISHED, *indexes)
        limit = "" if most is None else most
        began = await self._scripts.run("begin_round", job_keys, (job.id, job.round, limit, *flat))
        if began < 0:
            raise _too_many_jobs(most)
        await self.make_durable()
        return bool(began)

    async def set_waiting(self, job_id: str, why: Waiting) -> None:
        """Say why a job waits; it is forgotten when a line of it is finished."""
        if await self._redis.hget(keys.job(job_id), "status") is not None:
            await self._redis.hset(keys.job(job_id), "waiting", why.to_json())

    async def finish(self, job: Job, status: JobStatus, fields: dict[str, str | int]) -> bool:
        """Set a job's end with `fields` of its record, and say whether this call did it."""
        flat = [part for pair in fields.items() for part in pair]
        job_keys = (
            keys.job(job.id),
            keys.READY,
            keys.open_shards(job.id),
            keys.returned(job.id),
            keys.UNFINISHED,
            keys.histories(job.id),
        )
        ended = await self._scripts.run("finish_job", job_keys, (job.id, status, f"{status}_at", int(time.time()), *flat))
        await self.make_durable()
        return bool(ended)

    async def ended_before(self, before: float) -> list[str]:
        """Return the jobs that were made before `before` (s) and have ended."""
        ids = [i.decode() for i in await self._redis.zrangebyscore(keys.JOBS, 0, before)]
        kept = {i.decode() for i in await self._redis.smembers(keys.UNFINISHED)}
        return [job_id for job_id in ids if job_id not in kept]

    async def forget(self, old: Sequence[str]) -> None:
        """Forget jobs that have ended."""
        if not old:
            return
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in old:
                pipe.hget(keys.job(job_id), "owner")
            owners = await pipe.execute()
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(*(keys.job(job_id) for job_id in old), *(keys.deliveries(job_id) for job_id in old))
            pipe.zrem(keys.JOBS, *old)
            for job_id, owner in zip(old, owners, strict=True):
                if owner:
                    pipe.zrem(keys.jobs_of(owner.decode()), job_id)
            await pipe.execute()

    def finalizer_lock(self, job_id: str, holder: str, lease: float) -> Lock:
        """Return the lock for putting a job's output together, as `holder` sees it; `lease` is in seconds."""
        return Lock(self._scripts, keys.finalizer(job_id), holder, lease)


def _optional_fields(new: NewJob) -> dict[str, str | int | float]:
    """Return the fields of a job's record that are optional."""
    request, limits = new.request, new.request.caller.limits
    found: dict[str, str | int | float | None] = {
        "request_digest": request.request_digest,
        "cache": new.cache_seconds,
        "checks": request.checks,
        "price_class": request.price_class,
        "webhook": request.webhook,
        "trace": request.trace,
        "output_ttl": request.output_ttl,
        "restricted": int(request.caller.is_restricted),
        "key_rpm": limits.rpm if limits else None,
        "key_tpm": limits.tpm if limits else None,
    }
    capped = {} if request.max_cost is None else {"max_cost_nano": to_nano(request.max_cost)}
    return {name: value for name, value in found.items() if value} | capped


def _too_many_jobs(most: int | str | None) -> Refused:
    message = f"this key may have {most} unfinished jobs, and has them; wait for one of them to end, or cancel one"
    return Refused(Refusal.JOBS, message)
