"""Shards in the table of leases: cut, claimed, kept, recorded, committed, given back."""

import time
from dataclasses import replace

import pytest

from jobs.dispatch.lease_table import LEASE, QUEUE_LEASE, Order
from jobs.dispatch.planning import Planned
from jobs.errors import ShardIncomplete
from jobs.records.waiting import Waiting
from jobs.results.history import NO_HISTORY, LineHistory
from jobs.storage import keys
from tests.job_bench import Bench, finished, result_line

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


async def test_since_when_an_endpoint_has_lines_is_kept(bench: Bench) -> None:
    async def since() -> int:
        return int(await bench.redis.hget(keys.TURNS, keys.busy_since("a")) or 0)

    job, before = await bench.open_job(100), time.time() * 1000
    assert await bench.reserve(Planned(job.id, 0, 30, "a"))
    first = await since()
    assert abs(first - before) < 5_000
    await bench.redis.hset(keys.TURNS, keys.busy_since("a"), 1)
    assert await bench.reserve(Planned(job.id, 30, 40, "a"))
    assert await since() == 1, "it had lines already"
    await bench.redis.delete(keys.open_lines("a"))
    assert await bench.reserve(Planned(job.id, 40, 50, "a"))
    assert await since() >= first


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
    assert {key for key in await bench.keys_left() if not key.startswith("rb:job")} == {keys.TURNS}


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
    tried = {4: LineHistory(1, 3).with_failed("a", 1_795_000_000.0, "server_error", "HTTP 500"), 5: LineHistory(2, 2)}
    waiting = await bench.table.send_to_wait(shard, "b", {**tried, 6: NO_HISTORY}, 30.0, WHY)
    assert waiting is not None and waiting.token != shard.token
    assert (await bench.jobs.get(job.id)).waiting == WHY
    assert (await bench.open_lines("a"), await bench.open_lines("b")) == (0, 7)
    lease = await bench.lease_of(job, 0)
    assert lease is not None and 30 < lease <= 30 + QUEUE_LEASE
    assert not await bench.record(shard, range(3, 5))
    assert await bench.table.commit(shard) == (False, False)
    assert await bench.table.renew([shard]) == [Order.LOST]
    assert await bench.table.send_to_wait(shard, "c", {4: LineHistory(3)}, 1.0, WHY) is None
    assert (await bench.table.claim(job.id, 0, 10, shard.token, "late")).reason == "stale"
    claimed = await bench.claim(waiting)
    assert (claimed.endpoint, claimed.attempt) == ("b", 2)
    assert await bench.table.histories(claimed) == tried
    await bench.record(claimed, range(3, 10))
    assert await bench.table.commit(claimed) == (True, False)
    assert await bench.table.histories(claimed) == {}
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
    waiting = await bench.table.send_to_wait(shard, "a", {0: LineHistory(3)}, 1.0, WHY)
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
