"""The table of leases against a model of it, in random plays."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from jobs.dispatch.lease_table import Order
from jobs.dispatch.planning import Planned
from jobs.errors import InvalidRequest, ShardIncomplete
from jobs.records import Job, Shard
from jobs.records.waiting import Waiting
from jobs.results.history import LineHistory
from jobs.storage import keys
from tests.job_bench import USAGE, Bench, finished

WHY = Waiting("lines failed", 1e9)


@dataclass
class ModelShard:
    end: int
    endpoint: str
    token: str
    attempt: int = 0
    claimed: bool = False


@dataclass
class Model:
    """What one job should look like."""

    total: int
    cursor: int = 0
    open: dict[int, ModelShard] = field(default_factory=dict)
    returned: dict[int, tuple[int, int]] = field(default_factory=dict)
    done: dict[int, bool] = field(default_factory=dict)
    closed: list[tuple[int, int]] = field(default_factory=list)
    retries: int = 0
    stopped: bool = False
    cap: int | None = None
    """Lines, at a quarter dollar each, at which the job pauses."""

    @property
    def paused(self) -> bool:
        return not self.stopped and self.cap is not None and self.cap <= len(self.done) < self.total

    @property
    def halted(self) -> bool:
        return self.stopped or self.paused

    def open_lines(self, endpoint: str) -> int:
        return sum(
            sum(n not in self.done for n in range(first, shard.end))
            for first, shard in self.open.items()
            if shard.endpoint == endpoint
        )

    def ranges(self) -> list[tuple[int, int]]:
        opened = [(first, shard.end) for first, shard in self.open.items()]
        return sorted(opened + [(first, end) for first, (end, _) in self.returned.items()] + self.closed)


class Play:
    """Does random things to a job and to its model, stale and repeated ones among them."""

    def __init__(self, bench: Bench, job: Job, seed: int, cap: int | None = None) -> None:
        self.bench, self.job = bench, job
        self.rng = random.Random(seed)
        self.model = Model(job.ledger.total, cap=cap)
        self.old: list[Shard] = []

    def pick(self) -> tuple[int, ModelShard, Shard] | None:
        if not self.model.open:
            return None
        first = self.rng.choice(list(self.model.open))
        known = self.model.open[first]
        return first, known, Shard(self.job.id, first, known.end, known.endpoint, known.token, known.attempt)

    async def cut(self) -> None:
        model, rng = self.model, self.rng
        endpoint = rng.choice("abc")
        if model.returned and rng.random() < 0.6:
            first = rng.choice(list(model.returned))
            end, attempt = model.returned[first]
            planned = Planned(self.job.id, first, end, endpoint, attempt, came_back=True)
        elif model.cursor < model.total:
            first, end, attempt = model.cursor, min(model.total, model.cursor + rng.randint(1, 12)), 0
            planned = Planned(self.job.id, first, end, endpoint)
        else:
            return
        shards = await self.bench.reserve(planned)
        assert (shards is None) == model.halted
        if shards:
            model.returned.pop(first, None)
            model.cursor = max(model.cursor, end)
            model.open[first] = ModelShard(end, endpoint, shards[0].token, attempt)

    async def claim(self) -> None:
        if found := self.pick():
            first, known, shard = found
            claim = await self.bench.table.claim(self.job.id, first, known.end, known.token, f"c{self.rng.random()}")
            if known.claimed:
                assert claim.reason == "stale"
                return
            known.claimed = True
            assert claim.reason == "stopped" if self.model.halted else claim.shard == shard

    async def record(self) -> None:
        if found := self.pick():
            first, known, shard = found
            numbers = self.rng.sample(range(first, known.end), self.rng.randint(1, known.end - first))
            lines = [finished(n, self.model.done.get(n, self.rng.random() < 0.2)) for n in numbers]
            for line in lines:
                self.model.done.setdefault(line.number, line.failed)
            order = Order.STOP if self.model.halted else Order.GO
            for _ in range(self.rng.randint(1, 2)):
                assert await self.bench.table.record([(shard, lines)]) == [order]
            if known.claimed:
                (renewed,) = await self.bench.table.renew([shard])
                assert renewed in (Order.STOP, Order.END) if self.model.halted else renewed is Order.GO

    async def commit(self) -> None:
        if found := self.pick():
            first, known, shard = found
            if any(n not in self.model.done for n in range(first, known.end)):
                with pytest.raises(ShardIncomplete):
                    await self.bench.table.commit(shard)
                return
            ours, last = await self.bench.table.commit(shard)
            del self.model.open[first]
            self.model.closed.append((first, known.end))
            self.old.append(shard)
            everything = self.model.cursor == self.model.total
            assert (ours, last) == (True, everything and not self.model.open and not self.model.returned)

    async def give_back(self) -> None:
        if found := self.pick():
            first, known, shard = found
            only_if = self.rng.choice(["", "queued", "expired"])
            expected = only_if == "" or (only_if == "queued" and not known.claimed)
            assert await self.bench.table.give_back(self.job.id, first, known.token, only_if) is expected
            if expected:
                del self.model.open[first]
                self.model.returned[first] = (known.end, known.attempt)
                self.old.append(shard)

    async def retry(self) -> None:
        if found := self.pick():
            _, known, shard = found
            endpoint, attempt = self.rng.choice("abc"), self.rng.randint(0, 4)
            waiting = await self.bench.table.send_to_wait(shard, endpoint, {shard.first: LineHistory(attempt)}, 5.0, WHY)
            assert waiting
            known.token, known.endpoint, known.attempt, known.claimed = waiting.token, endpoint, attempt, False
            self.model.retries += 1
            self.old.append(shard)

    async def stale(self) -> None:
        if self.old:
            shard = self.rng.choice(self.old)
            table = self.bench.table
            assert await table.record([(shard, [finished(shard.first)])]) == [Order.LOST]
            assert await table.commit(shard) == (False, False)
            assert await table.renew([shard]) == [Order.LOST]
            assert await table.send_to_wait(shard, "a", {}, 1.0, WHY) is None
            assert not await table.give_back(self.job.id, shard.first, shard.token)
            assert (await table.claim(self.job.id, shard.first, shard.end, shard.token, "stale")).reason == "stale"

    async def stop(self) -> None:
        if self.rng.random() < 0.02:
            await self.bench.jobs.stop(self.job.id, "cancelled")
            self.model.stopped = True

    async def limit_cost(self) -> None:
        cap = self.rng.choice([None, len(self.model.done) + self.rng.randint(0, 20)])
        max_cost = None if cap is None else cap / 4
        refused = self.model.stopped or (cap is not None and cap <= len(self.model.done))
        if refused:
            with pytest.raises(InvalidRequest):
                await self.bench.jobs.limit_cost(self.job.id, max_cost or 0.0)
        else:
            await self.bench.jobs.limit_cost(self.job.id, max_cost)
            self.model.cap = cap

    async def compare(self) -> None:
        model, bench = self.model, self.bench
        job = await bench.jobs.get(self.job.id)
        failed = sum(model.done.values())
        assert (job.ledger.completed, job.ledger.failed) == (len(model.done) - failed, failed)
        assert job.tokens.prompt == USAGE.prompt * len(model.done)
        assert (job.cursor, job.retries) == (model.cursor, model.retries)
        assert (job.cost, job.paused is not None) == (len(model.done) / 4, model.paused)
        assert await bench.ready() == ([] if model.halted else [job.id])
        assert await bench.table.open_of(job.id) == sorted(model.open)
        assert await bench.table.returned_of(job.id) == sorted((f, e) for f, (e, _) in model.returned.items())
        leases = {member.decode() for member in await bench.redis.zrange(keys.LEASES, 0, -1)}
        assert leases == {keys.shard_member(job.id, first) for first in model.open}
        for endpoint in "abc":
            assert await bench.open_lines(endpoint) == model.open_lines(endpoint)
        ranges = model.ranges()
        assert [first for first, _ in ranges] == [0, *(end for _, end in ranges)][: len(ranges)]


@pytest.mark.parametrize("seed", range(6))
async def test_counts_stay_exact_whatever_happens(bench: Bench, seed: int) -> None:
    await run_play(Play(bench, await bench.open_job(150), seed))


@pytest.mark.parametrize("seed", range(6))
async def test_a_capped_job_is_paused_exactly_while_its_cap_is_spent_and_lines_are_left(bench: Bench, seed: int) -> None:
    job = await bench.open_job(60, max_cost=2.5)
    play = Play(bench, job, seed, cap=10)
    await run_play(play, play.limit_cost)


async def run_play(play: Play, *more: Callable[[], Awaitable[None]]) -> None:
    steps = [
        play.cut,
        play.cut,
        play.claim,
        play.record,
        play.record,
        play.commit,
        play.give_back,
        play.retry,
        play.stale,
        play.stop,
        *more,
    ]
    for _ in range(150):
        await play.rng.choice(steps)()
        await play.compare()


# ---- whose turn it is ----
