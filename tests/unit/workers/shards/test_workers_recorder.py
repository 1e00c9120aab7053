"""The recorder: nothing that was given to it is lost, whatever Redis does."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import orjson
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from balancer.outcome import NO_USAGE
from jobs.dispatch.lease_table import FinishedLine, Order
from jobs.records import Shard
from workers.shards import recorder as recorder_module
from workers.shards.recorder import Recorder


class Table:
    """Takes records, or fails to."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int]] = []
        self.groups: list[int] = []
        self.failures = 0
        self.lost: set[str] = set()
        self.paused: set[str] = set()
        self.refused: set[tuple[str, int]] = set()
        """Lines that Redis does not take, unless they are errors."""
        self.gate = asyncio.Event()
        self.gate.set()

    async def record(self, groups: Sequence[tuple[Shard, Sequence[FinishedLine]]]) -> list[Order]:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError("away")
        if any((shard.job_id, line.number) in self.refused and not line.failed for shard, lines in groups for line in lines):
            raise ResponseError("too large")
        self.groups.append(sum(len(lines) for _, lines in groups))
        self.kept += [(shard.job_id, line.number) for shard, lines in groups if shard.job_id not in self.lost for line in lines]
        return [self.order(shard.job_id) for shard, _ in groups]

    def order(self, job_id: str) -> Order:
        if job_id in self.lost:
            return Order.LOST
        return Order.STOP if job_id in self.paused else Order.GO


class Owner:
    """A run of a shard."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self.shard = Shard(name, 0, 10**6, "a", "t")
        self.recorder = recorder
        self.lost = False
        self.stopped = False
        self.corrected: list[FinishedLine] = []

    def stop(self) -> None:
        self.stopped = True

    def identity(self, line: FinishedLine) -> tuple[int, str]:
        return line.number, f"c{line.number}"

    def correct(self, line: FinishedLine) -> None:
        self.corrected.append(line)

    def lose(self) -> None:
        self.lost = True
        self.recorder.forget(self)

    def add(self, *numbers: int, size: int = 10) -> None:
        for number in numbers:
            self.recorder.add(self, FinishedLine(number, b"x" * size, False, NO_USAGE))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_SECONDS", 0.01)


@pytest.fixture
async def table() -> Table:
    return Table()


@pytest.fixture
async def recorder(table: Table) -> AsyncIterator[Recorder]:
    made = Recorder(table)  # type: ignore[arg-type]
    made.start()
    yield made
    table.gate.set()
    await made.aclose()


async def soon(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_lines_are_recorded_without_being_waited_for(recorder: Recorder, table: Table) -> None:
    Owner("j", recorder).add(1, 2, 3)
    await soon(lambda: table.kept == [("j", 1), ("j", 2), ("j", 3)])
    assert table.groups == [3]


async def test_settling_waits_until_everything_is_there(recorder: Recorder, table: Table) -> None:
    one, two = Owner("one", recorder), Owner("two", recorder)
    one.add(1, 2)
    two.add(1)
    await recorder.wait_until_recorded(one)
    assert set(table.kept) >= {("one", 1), ("one", 2)}
    await recorder.wait_until_recorded(two)
    await recorder.wait_until_recorded(Owner("nothing", recorder))


async def test_a_redis_that_is_away_loses_and_reorders_nothing(recorder: Recorder, table: Table) -> None:
    table.failures = 3
    owner = Owner("j", recorder)
    owner.add(*range(5))
    await soon(lambda: table.failures < 3)
    owner.add(*range(5, 10))
    async with asyncio.timeout(5):
        await recorder.wait_until_recorded(owner)
    assert table.kept == [("j", n) for n in range(10)]


async def test_many_lines_do_not_wait_for_company(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "GROUP_SECONDS", 60.0)
    recorder = Recorder(table)  # type: ignore[arg-type]
    recorder.start()
    owner = Owner("j", recorder)
    owner.add(*range(recorder_module.GROUP_LINES))
    await soon(lambda: len(table.kept) == recorder_module.GROUP_LINES)
    owner.add(1000, size=recorder_module.GROUP_BYTES)
    await soon(lambda: ("j", 1000) in table.kept)
    await recorder.aclose()


async def test_a_lost_shard_is_reported_and_the_others_are_kept(recorder: Recorder, table: Table) -> None:
    table.lost = {"gone"}
    gone, mine = Owner("gone", recorder), Owner("mine", recorder)
    gone.add(1)
    mine.add(1)
    await recorder.wait_until_recorded(mine)
    await soon(lambda: gone.lost)
    assert (mine.lost, table.kept) == (False, [("mine", 1)])


async def test_a_shard_of_a_paused_job_is_stopped_at_once_and_its_lines_are_kept(recorder: Recorder, table: Table) -> None:
    table.paused = {"paused"}
    paused, other = Owner("paused", recorder), Owner("other", recorder)
    paused.add(1)
    other.add(1)
    await recorder.wait_until_recorded(paused)
    assert (paused.stopped, paused.lost, other.stopped) == (True, False, False)
    assert sorted(table.kept) == [("other", 1), ("paused", 1)]


async def test_a_shard_that_is_lost_while_it_settles_does_not_hang(recorder: Recorder, table: Table) -> None:
    """Redis is away, its lines wait here, and then Redis says that another worker has it."""
    table.failures = 10**6
    owner = Owner("j", recorder)
    owner.add(1)
    settling = asyncio.create_task(recorder.wait_until_recorded(owner))
    await soon(lambda: table.failures < 10**6)
    owner.lose()
    async with asyncio.timeout(2):
        await settling


async def test_a_shard_that_is_lost_while_its_lines_are_on_their_way_settles(recorder: Recorder, table: Table) -> None:
    table.gate.clear()
    owner = Owner("j", recorder)
    owner.add(1)
    settling = asyncio.create_task(recorder.wait_until_recorded(owner))
    await soon(lambda: owner in recorder._in_flight)
    owner.lose()
    table.gate.set()
    async with asyncio.timeout(2):
        await settling


async def test_closing_ends_in_the_middle_of_work(table: Table) -> None:
    for _ in range(5):
        recorder = Recorder(table)  # type: ignore[arg-type]
        recorder.start()
        await asyncio.sleep(0)
        Owner("j", recorder).add(*range(recorder_module.GROUP_LINES))
        async with asyncio.timeout(5):
            await recorder.aclose()


async def test_a_line_that_redis_refuses_is_an_error_line_and_holds_up_no_other(recorder: Recorder, table: Table) -> None:
    table.refused = {("bad", 2)}
    bad, good = Owner("bad", recorder), Owner("good", recorder)
    bad.add(1, 2, 3)
    good.add(1)
    async with asyncio.timeout(5):
        await recorder.wait_until_recorded(bad)
        await recorder.wait_until_recorded(good)
    assert sorted(table.kept) == [("bad", 1), ("bad", 2), ("bad", 3), ("good", 1)]
    (line,) = bad.corrected
    assert (line.number, line.failed) == (2, True)
    assert orjson.loads(line.result)["error"]["code"] == "unrecordable"


async def test_large_lines_of_several_shards_do_not_go_in_one_round_trip(recorder: Recorder, table: Table) -> None:
    owners = [Owner(f"j{n}", recorder) for n in range(4)]
    for owner in owners:
        owner.add(1, size=recorder_module.GROUP_BYTES)
    async with asyncio.timeout(5):
        for owner in owners:
            await recorder.wait_until_recorded(owner)
    assert table.groups == [1, 1, 1, 1]


async def test_an_unexpected_error_ends_the_recorder(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(groups: object) -> list[Order]:
        raise ValueError("a bug")

    monkeypatch.setattr(table, "record", fail)
    recorder = Recorder(table)  # type: ignore[arg-type]
    task = recorder.start()
    Owner("j", recorder).add(1)
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(task, 5)
