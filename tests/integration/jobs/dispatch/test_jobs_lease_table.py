"""The lease table: every change fenced, repeatable, and exact in its counts."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest
from redis.exceptions import ResponseError

from balancer.outcome import Usage
from jobs import keys
from jobs.dispatch.lease_table import LEASE, QUEUE_LEASE, Order
from jobs.dispatch.planning import Planned
from jobs.dispatch.waiting import Waiting
from jobs.errors import InvalidRequest, ShardIncomplete
from jobs.records import FileRecord, Job, Shard
from jobs.states import JobStatus
from jobs.storage.job_store import NewJob
from tests.job_bench import PATH, USAGE, Bench, finished, result_line

WHY = Waiting("lines failed", 1e9)


async def test_reserving_moves_the_cursor_and_leases_the_shards(bench: Bench) -> None:
    job = await bench.open_job(100)
    shards = await bench.reserve(Planned(job.id, 0, 30, "a"), Planned(job.id, 30, 40, "b"))
    assert shards is not None
    assert [(s.first, s.end, s.endpoint) for s in shards] == [(0, 30, "a"), (30, 40, "b")]
    assert (await bench.jobs.get(job.id)).cursor == 40
    assert await bench.table.open_of(job.id) == [0, 30]
    assert (await bench.open_lines("a"), await bench.open_lines("b")) == (30, 10)
    lease = await bench.lease_of(job, 0)
    assert lease is not None and 0 < lease <= QUEUE_LEASE
    assert await bench.redis.hget(keys.TURNS, "a") == b"1.5"


@pytest.mark.parametrize(
    "planned",
    [
        [(10, 20)],  # behind the cursor's back
        [(0, 101)],  # over the end
        [(0, 10), (20, 30)],  # a gap
        [(0, 10), (5, 20)],  # an overlap
        [(0, 10), (10, 101)],  # one that fits and one that doesn't
    ],
)
async def test_a_plan_that_does_not_fit_changes_nothing(bench: Bench, planned: list[tuple[int, int]]) -> None:
    job = await bench.open_job(100)
    assert await bench.reserve(*(Planned(job.id, first, end, "a") for first, end in planned)) is None
    assert (await bench.jobs.get(job.id)).cursor == 0
    assert await bench.table.open_of(job.id) == []
    assert await bench.redis.zcard(keys.LEASES) == 0
    assert await bench.open_lines("a") == 0


async def test_an_overtaken_plan_changes_nothing(bench: Bench) -> None:
    job = await bench.open_job(100)
    version = await bench.version()
    await bench.cut(job, 0, 10)
    assert await bench.reserve(Planned(job.id, 10, 20, "a"), version=version) is None
    assert (await bench.jobs.get(job.id)).cursor == 10


async def test_a_range_that_came_back_is_cut_only_once(bench: Bench) -> None:
    job = await bench.open_job(100)
    shard = await bench.cut(job, 0, 10)
    assert await bench.table.give_back(job.id, 0, shard.token)
    await bench.cut_again(job, 0, 10)
    assert await bench.reserve(Planned(job.id, 0, 10, "a", came_back=True)) is None


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_nothing_is_cut_off_a_stopped_job(bench: Bench, ending: str) -> None:
    job = await bench.open_job(100)
    await bench.jobs.stop(job.id, ending)
    assert await bench.reserve(Planned(job.id, 0, 10, "a")) is None
    assert await bench.ready() == []


async def test_a_second_message_finds_the_shard_taken(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.cut(job, 0, 10)
    first = await bench.table.claim(job.id, 0, 10, shard.token, "one")
    assert first.shard == shard
    assert (await bench.table.claim(job.id, 0, 10, shard.token, "two")).reason == "stale"
    # The same claim again is an answer that got lost on its way.
    assert (await bench.table.claim(job.id, 0, 10, shard.token, "one")).shard == shard


async def test_a_message_of_an_older_time_is_stale(bench: Bench) -> None:
    job = await bench.open_job()
    old = await bench.cut(job, 0, 10)
    assert await bench.table.give_back(job.id, 0)
    assert (await bench.table.claim(job.id, 0, 10, old.token, "one")).reason == "stale"
    new = await bench.cut_again(job, 0, 10)
    assert (await bench.table.claim(job.id, 0, 10, old.token, "one")).reason == "stale"
    assert (await bench.table.claim(job.id, 0, 10, new.token, "one")).shard is not None


async def test_a_claim_on_a_stopped_job_says_so(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.cut(job, 0, 10)
    await bench.jobs.stop(job.id, "cancelled")
    assert (await bench.table.claim(job.id, 0, 10, shard.token, "one")).reason == "stopped"
    assert await bench.table.give_back(job.id, 0, shard.token)


async def test_renewing_keeps_stops_and_loses(bench: Bench) -> None:
    job, other = await bench.open_job(), await bench.open_job()
    kept, lost = await bench.claim(await bench.cut(job, 0, 10)), await bench.claim(await bench.cut(job, 10, 20))
    stopped = await bench.claim(await bench.cut(other, 0, 10))
    await bench.let_leases_run_out()
    assert await bench.table.give_back(job.id, 10, only_if="expired")
    await bench.jobs.stop(other.id, "cancelled")
    assert await bench.table.renew([kept, lost, stopped]) == [Order.GO, Order.LOST, Order.END]
    lease = await bench.lease_of(job, 0)
    assert lease is not None and LEASE - 1 < lease <= LEASE


async def test_renewing_nothing_asks_nothing(bench: Bench) -> None:
    assert await bench.table.renew([]) == []


async def test_recording_twice_counts_once(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10))
    for _ in range(2):
        assert await bench.record(shard, range(4), failed=[3])
    assert await bench.record(shard, range(2, 6))
    job = await bench.jobs.get(job.id)
    assert (job.ledger.completed, job.ledger.failed) == (5, 1)
    assert (job.tokens.prompt, job.tokens.completion, job.tokens.cached, job.tokens.reasoning) == (6 * 7, 6 * 5, 6 * 3, 6 * 2)
    assert job.cost == pytest.approx(1.5)
    assert job.shares == {"a": 6}
    assert await bench.open_lines("a") == 4
    recorded = await bench.table.finished(shard)
    assert recorded[3] == (True, result_line(3)) and recorded[4] == (False, result_line(4))


async def test_a_line_without_a_known_price_is_counted_as_such(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10))
    await bench.table.record([(shard, [replace(finished(0), cost=None), replace(finished(1), cost=0.0, endpoint="")])])
    job = await bench.jobs.get(job.id)
    assert (job.cost, job.unpriced, job.shares) == (0.0, 1, {"a": 1})


async def test_what_a_keys_job_costs_counts_for_its_budgets_once(bench: Bench) -> None:
    job = await bench.open_job(owner="key_1")
    shard = await bench.claim(await bench.cut(job, 0, 10))
    for _ in range(2):
        await bench.table.record([(shard, [replace(finished(0), cost=0.25), replace(finished(1), cost=None)])])
    spent = {key.decode(): int(await bench.redis.get(key) or 0) for key in await bench.redis.keys("rb:spent:key_1:*")}
    assert sorted(spent.values()) == [250_000_000, 250_000_000]
    assert {len(key.rpartition(":")[2]) for key in spent} == {len("2026-11-20"), len("2026-11")}
    for key in spent:
        assert await bench.redis.ttl(key) > 0


async def test_results_of_any_bytes_are_kept_as_they_are(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 3))
    nasty = [b"", bytes(range(256)).replace(b"\n", b""), b"0" * 100_000]
    await bench.table.record([(shard, [replace(finished(i), result=result) for i, result in enumerate(nasty)])])
    assert [(await bench.table.finished(shard))[i] for i in range(3)] == [(False, result) for result in nasty]


async def test_a_lost_shard_records_nothing_while_others_do(bench: Bench) -> None:
    job = await bench.open_job()
    mine, lost = await bench.claim(await bench.cut(job, 0, 10)), await bench.claim(await bench.cut(job, 10, 20))
    assert await bench.table.give_back(job.id, 10)
    orders = await bench.table.record([(mine, [finished(0)]), (lost, [finished(10)])])
    assert orders == [Order.GO, Order.LOST]
    assert (await bench.jobs.get(job.id)).ledger.completed == 1


async def test_a_shard_with_a_missing_line_is_never_closed(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10))
    await bench.record(shard, range(9))
    with pytest.raises(ShardIncomplete, match="9 of 10"):
        await bench.table.commit(shard)
    assert await bench.table.open_of(job.id) == [0]


async def test_committing_leaves_nothing_behind_and_tells_the_last_one(bench: Bench) -> None:
    job = await bench.open_job(20)
    first, second = await bench.claim(await bench.cut(job, 0, 10)), await bench.claim(await bench.cut(job, 10, 20))
    assert await bench.finish_shard(second) == (True, False)
    assert await bench.finish_shard(first) == (True, True)
    assert await bench.table.commit(first) == (False, False)
    left = {key.decode() for key in await bench.redis.keys("*") if not key.startswith(b"rb:job")}
    assert left == {keys.TURNS}


async def test_it_is_not_the_last_one_while_a_range_waits_to_be_cut_again(bench: Bench) -> None:
    job = await bench.open_job(20)
    first, second = await bench.claim(await bench.cut(job, 0, 10)), await bench.claim(await bench.cut(job, 10, 20))
    await bench.table.give_back(job.id, 0, first.token)
    assert await bench.finish_shard(second) == (True, False)
    assert await bench.finish_shard(await bench.claim(await bench.cut_again(job, 0, 10))) == (True, True)


async def test_what_was_recorded_survives_giving_back(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10))
    await bench.record(shard, range(4))
    assert await bench.table.give_back(job.id, 0, shard.token)
    assert await bench.open_lines("a") == 0
    assert not await bench.table.give_back(job.id, 0, shard.token)
    again = await bench.claim(await bench.cut_again(job, 0, 10, "b"))
    assert await bench.open_lines("b") == 6
    assert sorted(await bench.table.finished(again)) == [0, 1, 2, 3]
    assert not await bench.record(shard, range(10))  # the old worker, late
    assert await bench.record(again, range(4, 10))
    assert await bench.table.commit(again) == (True, False)


@pytest.mark.parametrize(
    ("condition", "state", "expected"),
    [
        ("expired", "running", False),  # its lease still runs
        ("queued", "running", False),  # a worker has it
        ("queued", "queued", True),
        ("", "running", True),
    ],
)
async def test_giving_back_under_a_condition(bench: Bench, condition: str, state: str, expected: bool) -> None:
    job = await bench.open_job()
    shard = await bench.cut(job, 0, 10)
    if state == "running":
        await bench.claim(shard)
    assert await bench.table.give_back(job.id, 0, only_if=condition) is expected


async def test_a_retry_fences_the_old_worker_and_moves_the_lines(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10, "a"))
    await bench.record(shard, range(3))
    waiting = await bench.table.send_to_wait(shard, "b", {4: 1, 5: 2, 6: 0}, 30.0, WHY)
    assert waiting is not None and waiting.token != shard.token
    assert (await bench.jobs.get(job.id)).waiting == WHY
    assert (await bench.open_lines("a"), await bench.open_lines("b")) == (0, 7)
    lease = await bench.lease_of(job, 0)
    assert lease is not None and 30 < lease <= 30 + QUEUE_LEASE
    assert not await bench.record(shard, range(3, 5))
    assert await bench.table.commit(shard) == (False, False)
    assert await bench.table.renew([shard]) == [Order.LOST]
    assert await bench.table.send_to_wait(shard, "c", {4: 3}, 1.0, WHY) is None
    assert (await bench.table.claim(job.id, 0, 10, shard.token, "late")).reason == "stale"
    claimed = await bench.claim(waiting)
    assert (claimed.endpoint, claimed.attempt) == ("b", 2)
    assert await bench.table.failed_passes(claimed) == {4: 1, 5: 2}
    await bench.record(claimed, range(3, 10))
    assert await bench.table.commit(claimed) == (True, False)
    assert await bench.table.failed_passes(claimed) == {}
    assert (await bench.jobs.get(job.id)).retries == 1
    assert (await bench.jobs.get(job.id)).waiting is None, "a line has been finished since"


async def test_a_retry_at_the_same_endpoint_keeps_its_lines(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10, "a"))
    assert await bench.table.send_to_wait(shard, "a", {}, 1.0, WHY)
    assert await bench.open_lines("a") == 10


async def test_the_attempt_comes_back_with_the_range(bench: Bench) -> None:
    job = await bench.open_job()
    shard = await bench.claim(await bench.cut(job, 0, 10))
    waiting = await bench.table.send_to_wait(shard, "a", {0: 3}, 1.0, WHY)
    assert waiting
    assert await bench.table.give_back(job.id, 0)
    again = await bench.claim(await bench.cut_again(job, 0, 10, "a", attempt=3))
    assert again.attempt == 3


async def test_overdue_shards_are_found(bench: Bench) -> None:
    job = await bench.open_job()
    await bench.cut(job, 0, 10)
    assert await bench.table.overdue(time.time()) == []
    assert await bench.table.overdue(time.time() + QUEUE_LEASE + 1) == [(job.id, 0)]
    await bench.table.extend(job.id, 0, time.time() + 100)
    assert await bench.table.overdue(time.time() + QUEUE_LEASE + 1) == []


async def test_a_lease_without_a_shard_is_forgotten_but_never_one_with(bench: Bench) -> None:
    job = await bench.open_job()
    await bench.redis.zadd(keys.LEASES, {keys.shard_member(job.id, 50): 1})
    await bench.table.forget_lease(job.id, 50)
    assert await bench.table.overdue(time.time()) == []
    await bench.cut(job, 0, 10)
    await bench.table.forget_lease(job.id, 0)
    assert await bench.lease_of(job, 0) is not None


# ---- a model of the table, and random use of it ----


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
            waiting = await self.bench.table.send_to_wait(shard, endpoint, {shard.first: attempt}, 5.0, WHY)
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


async def test_jobs_take_turns_by_lines_served(bench: Bench) -> None:
    large, small = await bench.open_job(1000), await bench.open_job(10)
    assert set(await bench.ready()) == {large.id, small.id}
    await bench.cut(large, 0, 100)
    assert (await bench.ready())[0] == small.id
    await bench.cut(small, 0, 5)
    assert (await bench.ready())[0] == small.id


async def test_a_new_job_neither_waits_for_the_past_nor_makes_others_wait_for_it(bench: Bench) -> None:
    old, older = await bench.open_job(10_000), await bench.open_job(10_000)
    await bench.cut(old, 0, 5000)
    await bench.cut(older, 0, 4000)
    new = await bench.open_job(10_000)
    assert (await bench.ready())[-1] == old.id
    await bench.cut(new, 0, 10)
    assert await bench.ready() == [older.id, new.id, old.id]


async def test_higher_priority_goes_first_however_much_it_has_had(bench: Bench) -> None:
    low, normal, high = [await bench.open_job(10**7, priority=p) for p in (-100, 0, 100)]
    await bench.cut(high, 0, 9_000_000)
    second = await bench.open_job(10, priority=100)
    ready = await bench.ready()
    assert (set(ready[:2]), ready[2:]) == ({high.id, second.id}, [normal.id, low.id])


async def test_a_range_of_a_stopped_job_brings_nothing_back(bench: Bench) -> None:
    job = await bench.open_job(10)
    shard = await bench.cut(job, 0, 10)
    await bench.jobs.stop(job.id, "cancelled")
    await bench.table.give_back(job.id, 0, shard.token)
    assert await bench.ready() == []


async def test_opening_a_job_twice_changes_nothing(bench: Bench) -> None:
    record = FileRecord("file-00000000", "in.jsonl", "batch", 1000, 0, lines=10)
    new = NewJob("batch_12345678", record, PATH)
    job = await bench.jobs.open(new)
    await bench.cut(job, 0, 5)
    assert (await bench.jobs.open(new)).cursor == 5
    assert await bench.redis.zcard(keys.JOBS) == 1


async def test_stopping_an_ended_job_leaves_it_as_it_is(bench: Bench) -> None:
    job = await bench.open_job(10)
    assert await bench.jobs.finish(job, JobStatus.COMPLETED, {"completed": 10})
    assert (await bench.jobs.stop(job.id, "cancelled")).status is JobStatus.COMPLETED
    assert not await bench.jobs.finish(job, JobStatus.CANCELLED, {})
    assert (await bench.jobs.get(job.id)).status is JobStatus.COMPLETED


async def test_a_group_that_cannot_be_read_leaves_nothing_half_written(bench: Bench) -> None:
    job = await bench.open_job(4)
    shard = await bench.claim(await bench.cut(job, 0, 4))
    good, bad = finished(0), replace(finished(1), usage=Usage(True))  # a count of tokens that is no number
    with pytest.raises(ResponseError, match="unreadable"):
        await bench.table.record([(shard, [good, bad])])
    assert await bench.table.finished(shard) == {}
    assert (await bench.jobs.get(job.id)).ledger.done == 0
    await bench.table.record([(shard, [good])])
    assert (await bench.jobs.get(job.id)).tokens.prompt == good.usage.prompt
