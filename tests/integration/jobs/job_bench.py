"""What tests of the lease table do again and again."""

import itertools
import time
from collections.abc import Iterable, Sequence

from balancer.outcome import Usage
from balancer.redis_connection import AsyncRedis
from jobs import keys
from jobs.planning import Plan, Planned
from jobs.records import FileRecord, Job, Shard
from jobs.shards import FinishedLine, ShardTable
from jobs.store import JobStore, NewJob, job_scripts

PATH = "/v1/chat/completions"
USAGE = Usage(7, 5, 3, 2)


class Bench:
    """A lease table and a job store on one server."""

    def __init__(self, redis: AsyncRedis) -> None:
        self.redis = redis
        scripts = job_scripts(redis)
        self.table = ShardTable(redis, scripts)
        self.jobs = JobStore(redis, scripts)
        self._numbers = itertools.count(1)
        self._claims = itertools.count(1)

    def job_id(self) -> str:
        return f"batch_{next(self._numbers):08d}"

    async def open_job(self, lines: int = 100, priority: int = 0, window: float = 3600.0, file_id: str = "file-00000000") -> Job:
        record = FileRecord(file_id, "in.jsonl", "batch", 100 * lines, int(time.time()), lines=lines, models={"m": 1})
        return await self.jobs.open(NewJob(self.job_id(), record, PATH, window_seconds=window, priority=priority))

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
        return (await self.table.record([(shard, [finished(n, n in failed) for n in numbers])]))[0]

    async def finish_shard(self, shard: Shard) -> tuple[bool, bool]:
        """Record everything and commit."""
        await self.record(shard, range(shard.first, shard.end))
        return await self.table.commit(shard)

    async def open_lines(self, endpoint: str) -> int:
        return sum(int(lines) for lines in await self.redis.hvals(keys.open_lines(endpoint)))

    async def ready(self) -> list[str]:
        return [job_id.decode() for job_id in await self.redis.zrange(keys.READY, 0, -1)]

    async def lease_of(self, job: Job, first: int) -> float | None:
        """Seconds that a shard's lease still runs."""
        until = await self.redis.zscore(keys.LEASES, keys.shard_member(job.id, first))
        return None if until is None else until / 1000 - time.time()

    async def let_leases_run_out(self) -> None:
        """As if nobody had kept any lease for long."""
        for member in await self.redis.zrange(keys.LEASES, 0, -1):
            await self.redis.zadd(keys.LEASES, {member: 1})


def finished(number: int, failed: bool = False) -> FinishedLine:
    return FinishedLine(number, b'{"n":%d}' % number, failed, USAGE, "a", 0.25)
