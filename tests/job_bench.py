"""What tests of the lease table do again and again."""

import itertools
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from balancer.outcome import Usage
from balancer.state.redis_connection import AsyncRedis
from jobs.access.caller import Caller
from jobs.dispatch.lease_table import FinishedLine, Order, ShardTable
from jobs.dispatch.planning import Plan, Planned
from jobs.intake.files import Files, Upload
from jobs.intake.requests import JobRequest, NewJob
from jobs.records import FileRecord, Job, Shard
from jobs.results.assembly import Assembly
from jobs.results.reading import Results
from jobs.storage import durability, keys, object_store
from jobs.storage.job_store import JobStore, job_scripts
from jobs.storage.object_store import ObjectStore
from tests.waiting import until

PATH = "/v1/chat/completions"
USAGE = Usage(7, 5, 3, 2)


class Bench:
    """A lease table and a job store on one server, and results in a folder."""

    def __init__(self, redis: AsyncRedis, folder: Path) -> None:
        self.redis = redis
        self.objects = ObjectStore.open(str(folder))
        self.files = Files(redis, self.objects)
        scripts = job_scripts(redis)
        self.table = ShardTable(redis, scripts)
        self.jobs = JobStore(redis, scripts)
        self._numbers = itertools.count(1)
        self._claims = itertools.count(1)

        self.results = Results(self.objects, self.table)

    def assembly(self, process: str = "one") -> Assembly:
        return Assembly(process, self.jobs, self.table, self.files, self.objects)

    def job_id(self) -> str:
        return f"batch_{next(self._numbers):08d}"

    async def open_job(
        self,
        lines: int = 100,
        priority: int = 0,
        window: float = 3600.0,
        file_id: str = "file-00000000",
        max_cost: float | None = None,
        owner: str = "",
    ) -> Job:
        record = FileRecord(file_id, "in.jsonl", "batch", 100 * lines, int(time.time()), lines=lines, models={"m": 1})
        return await self.jobs.open(new_job(self.job_id(), record, window, owner, priority, max_cost))

    async def open_real_job(self, lines: int, window: float = 3600.0) -> Job:
        """Open a job on an input that is there."""
        content = b"".join(input_line(n) for n in range(lines))
        record = await self.files.add(Upload("in.jsonl"), in_chunks(content))
        assert record.errors == ()
        return await self.jobs.open(new_job(self.job_id(), record, window))

    async def keys_left(self) -> set[str]:
        """What is in Redis, but for the day's account, once the mark of the last write has expired."""
        await until(self._mark_expired, what="the mark to expire")
        return {key.decode() for key in await self.redis.keys("*") if not key.startswith(b"rb:recorded:")}

    async def _mark_expired(self) -> bool:
        return not await self.redis.exists(durability.MARK)

    async def version(self) -> str:
        return (await self.redis.hget(keys.TURNS, "version") or b"0").decode()

    async def reserve(self, *planned: Planned, version: str | None = None) -> list[Shard] | None:
        return await self.table.reserve(Plan(planned, {"a": 1.5}), await self.version() if version is None else version)

    async def cut(self, job: Job, first: int, end: int, endpoint: str = "a") -> Shard:
        """Cut lines off a job that were never cut before."""
        shards = await self.reserve(Planned(job.id, first, end, endpoint))
        assert shards
        return shards[0]

    async def cut_again(self, job: Job, first: int, end: int, endpoint: str = "a", attempt: int = 0) -> Shard:
        """Cut a range that came back."""
        shards = await self.reserve(Planned(job.id, first, end, endpoint, attempt, came_back=True))
        assert shards
        return shards[0]

    async def claim(self, shard: Shard) -> Shard:
        claim = await self.table.claim(shard.job_id, shard.first, shard.end, shard.token, f"claim-{next(self._claims)}")
        assert claim.shard is not None, claim
        return claim.shard

    async def record(self, shard: Shard, numbers: Iterable[int], failed: Sequence[int] = ()) -> bool:
        """Record lines at a quarter dollar each, and say whether they were kept."""
        return (await self.table.record([(shard, [finished(n, n in failed) for n in numbers])]))[0] is not Order.LOST

    async def finish_shard(self, shard: Shard) -> tuple[bool, bool]:
        """Record everything and commit."""
        await self.record(shard, range(shard.first, shard.end))
        return await self.table.commit(shard)

    async def write_part(self, job: Job, first: int, end: int, failed: Sequence[int] = (), mark: str = "") -> None:
        """Write a shard's part, as a worker does before it commits."""
        lines = [(b"1" if n in failed else b"0") + result_line(n, mark) + b"\n" for n in range(first, end)]
        await self.objects.write(object_store.part_path(job.id, first, end), b"".join(lines))

    async def work(self, shard: Shard, failed: Sequence[int] = ()) -> bool:
        """Do a whole shard as a worker does, and say whether it was the last."""
        shard = await self.claim(shard)
        job = await self.jobs.get(shard.job_id)
        await self.table.record([(shard, [finished(n, n in failed) for n in range(shard.first, shard.end)])])
        await self.write_part(job, shard.first, shard.end, failed)
        ours, last = await self.table.commit(shard)
        assert ours
        return last

    async def file_lines(self, file_id: str | None) -> list[dict[str, Any]]:
        """Return the lines of a file, parsed."""
        assert file_id is not None
        content = b"".join([chunk async for chunk in self.files.content(await self.files.get(file_id))])
        assert content.endswith(b"\n")
        return [orjson.loads(line) for line in content.splitlines()]

    async def open_lines(self, endpoint: str) -> int:
        return sum(int(lines) for lines in await self.redis.hvals(keys.open_lines(endpoint)))

    async def ready(self) -> list[str]:
        return [job_id.decode() for job_id in await self.redis.zrange(keys.READY, 0, -1)]

    async def lease_of(self, job: Job, first: int) -> float | None:
        """Seconds that a shard's lease still runs."""
        until = await self.redis.zscore(keys.LEASES, keys.shard_member(job.id, first))
        return None if until is None else until / 1000 - time.time()

    async def let_leases_run_out(self) -> None:
        """As if no worker had kept any lease for long."""
        for member in await self.redis.zrange(keys.LEASES, 0, -1):
            await self.redis.zadd(keys.LEASES, {member: 1})


def new_job(
    job_id: str, record: FileRecord, window: float = 86400.0, owner: str = "", priority: int = 0, max_cost: float | None = None
) -> NewJob:
    """Return a checked request for a job; `window` is in seconds."""
    caller = Caller(owner, owner, admin=True)
    request = JobRequest(record.id, PATH, priority=priority, job_id=job_id, max_cost=max_cost, caller=caller)
    return NewJob(request, record, window)


def finished(number: int, failed: bool = False, mark: str = "") -> FinishedLine:
    return FinishedLine(number, result_line(number, mark), failed, USAGE, "a", 0.25)


def result_line(number: int, mark: str = "") -> bytes:
    return orjson.dumps({"n": number, "custom_id": f"c{number}", "mark": mark})


def input_line(number: int) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": f"prompt {number}"}]}
    return orjson.dumps({"custom_id": f"c{number}", "method": "POST", "url": PATH, "body": body}) + b"\n"


async def in_chunks(content: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
