"""The account of usage that all processes keep together: nothing counts twice, and only what a killed process held is lost."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api_roadbalancer.mock import Behaviour, serve
from balancer import AsyncLoadBalancer, Endpoint
from balancer.endpoint import Price
from balancer.fleet.fleet import Fleet
from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Argument, Scripts
from balancer.state.shared_state import local_state, state_on
from balancer.usage import meter as usage
from balancer.usage.meter import DAYS_KEPT, LONGEST_NAME, MODELS_A_DAY, OTHER_MODELS, UsageMeter
from balancer.usage.query import Group, UsageQuery
from balancer.usage.report import UsageReport, UsageSum, usage_report
from tests.fleet_calls import chat, streamed_chat
from tests.waiting import PATIENCE, until

LUA = Path(usage.__file__).parent
DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
E = Endpoint("http://e/v1", name="e", provider="vllm")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class BadLine(Scripts):
    """Scripts over a connection that breaks: before Redis has got them (`cut`), or before its answer is here (`deaf`); or that
    stands and takes nothing there (`hung`), or brings nothing back (`mute`)."""

    cut = False
    deaf = False
    hung = False
    mute = False
    runs = 0

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        self.runs += 1
        if self.hung:
            await asyncio.Event().wait()
        if self.cut:
            raise RedisConnectionError("cut off")
        answer = await super().run(name, keys, args)
        if self.mute:
            await asyncio.Event().wait()
        if self.deaf:
            raise RedisConnectionError("the answer is lost")
        return answer


@pytest.fixture
def line(redis: AsyncRedis) -> BadLine:
    return BadLine(redis, LUA)


def good(model: str = "m", cost: float | None = 0.001) -> Outcome:
    return Outcome("e", 0.25, 200, usage=Usage(100, 10, 40, 5), model=model, cost=cost)


async def report(redis: AsyncRedis, *by: Group, first: date = DAY, last: date = DAY) -> UsageReport:
    return await usage_report(redis, UsageQuery(first, last, by))


async def total(redis: AsyncRedis) -> UsageSum:
    return (await report(redis)).total


async def test_meters_of_several_processes_add_up(redis: AsyncRedis, line: BadLine) -> None:
    one, two = UsageMeter(line, Clock()), UsageMeter(line, Clock())
    for meter in (one, two, one):
        meter.record(E, good(), "alice")
        meter.record(E, Outcome("e", 9.0, 500, failure=Failure(FailureKind.SERVER, "broken", 500), model="m"), "bob")
        await meter.flush()
    alice, bob = (await report(redis, "key")).rows
    assert alice.group == {"key": "alice"}
    assert (alice.requests, alice.errors, alice.cost, alice.unpriced_requests) == (3, 0, 0.003, 0)
    assert (alice.input_tokens, alice.output_tokens, alice.cached_tokens, alice.reasoning_tokens) == (300, 30, 120, 15)
    assert alice.latency == pytest.approx(0.25)
    assert 0.2 <= (alice.latency_p50 or 0) <= (alice.latency_p95 or 0) <= 0.3
    assert (bob.requests, bob.errors, bob.cost, bob.latency) == (3, 3, 0.0, None)


async def test_an_account_without_entries_is_empty(redis: AsyncRedis) -> None:
    found = await report(redis, "day", first=date(2025, 3, 1))
    assert found.rows == []
    assert (found.total.requests, found.total.cost, found.total.latency) == (0, 0.0, None)


async def test_a_flush_whose_answer_is_lost_counts_once(redis: AsyncRedis, line: BadLine) -> None:
    meter = UsageMeter(line, Clock())
    meter.record(E, good(), "")
    line.deaf = True
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            await meter.flush()
        meter.record(E, good(), "")
    line.deaf = False
    await meter.flush()
    assert (await total(redis)).requests == 4
    await meter.flush()
    assert (await total(redis)).requests == 4


async def test_what_is_counted_while_redis_is_away_is_written_when_it_is_back(
    redis: AsyncRedis, line: BadLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "FLUSH_EVERY", 0.01)
    meter = UsageMeter(line, Clock())
    line.cut = True
    meter.start()
    meter.record(E, good(), "")
    await until(lambda: meter._away)
    for _ in range(5):
        meter.record(E, good(), "")
    line.cut = False
    await until(lambda: meter._unwritten() == 0)
    await meter.aclose()
    assert (await total(redis)).requests == 6
    assert not caplog.records  # the slots tell of it


async def test_what_redis_refuses_is_logged_once_and_kept(
    redis: AsyncRedis, line: BadLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "FLUSH_EVERY", 0.0)
    await redis.set(keys.usage("2026-03-01"), "something else")
    meter = UsageMeter(line, Clock())
    meter.start()
    meter.record(E, good(), "")
    await until(lambda: line.runs >= 3)
    await redis.delete(keys.usage("2026-03-01"))
    await until(lambda: meter._unwritten() == 0)
    await meter.aclose()
    assert (await total(redis)).requests == 1
    assert caplog.text.count("Redis is unavailable") == 1


async def test_the_end_tells_what_is_left(redis: AsyncRedis, line: BadLine) -> None:
    meter = UsageMeter(line, Clock())
    meter.start()
    meter.record(E, good(), "")
    await meter.aclose()
    assert (await total(redis)).requests == 1


async def test_a_flush_that_the_end_interrupts_counts_once(
    redis: AsyncRedis, line: BadLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FLUSH_EVERY", 0.0)
    line.mute = True
    meter = UsageMeter(line, Clock())
    meter.record(E, good(), "")
    meter.start()
    async with asyncio.timeout(PATIENCE):
        while not await redis.exists(keys.usage("2026-03-01")):
            await asyncio.sleep(0)
    line.mute = False
    meter.record(E, good(), "")
    await meter.aclose()
    assert (await total(redis)).requests == 2


async def test_what_the_end_can_not_tell_is_logged(line: BadLine, caplog: pytest.LogCaptureFixture) -> None:
    meter = UsageMeter(line, Clock())
    meter.start()
    line.cut = True
    for _ in range(3):
        meter.record(E, good(), "")
    with caplog.at_level(logging.WARNING):
        await meter.aclose()
    assert "3 requests are missing" in caplog.text


async def test_days_are_those_of_utc_and_are_forgotten_one_day(redis: AsyncRedis, line: BadLine) -> None:
    clock = Clock()
    meter = UsageMeter(line, clock)
    midnight = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
    for clock.now in (midnight - 0.001, midnight, NOON):  # the last one: a clock that has been put right
        meter.record(E, good(), "")
    await meter.flush()
    rows = (await report(redis, "day", last=date(2026, 3, 2))).rows
    assert [(row.group["day"], row.requests) for row in rows] == [("2026-03-01", 2), ("2026-03-02", 1)]
    assert (await report(redis, "day", first=date(2026, 3, 2), last=date(2026, 3, 2))).total.requests == 1
    left = await redis.ttl(keys.usage("2026-03-01"))
    assert 0 <= DAYS_KEPT * 86400 - left <= 60
    assert 0 < await redis.ttl(keys.usage_flush(meter._meter)) <= 86400


async def test_long_spans_are_read_whole(redis: AsyncRedis, line: BadLine) -> None:
    clock = Clock()
    meter = UsageMeter(line, clock)
    for day in range(120):
        clock.now = NOON + day * 86400
        meter.record(E, good(), "")
    await meter.flush()
    found = await report(redis, "day", last=date.fromordinal(DAY.toordinal() + 119))
    assert len(found.rows) == found.total.requests == 120


async def test_names_that_users_make_up_can_not_fill_redis(redis: AsyncRedis, line: BadLine) -> None:
    clock = Clock()
    meter = UsageMeter(line, clock)
    meter.record(E, good("long" * 100), "")
    for number in range(MODELS_A_DAY + 50):
        meter.record(E, good(f"made-up-{number}"), "")
    meter.record(E, good("made-up-0"), "")
    await meter.flush()
    rows = {row.group["model"]: row.requests for row in (await report(redis, "model")).rows}
    assert len(rows) == MODELS_A_DAY + 1
    assert (rows[OTHER_MODELS], rows["made-up-0"], rows[("long" * 100)[:LONGEST_NAME]]) == (51, 2, 1)
    clock.now += 86400
    meter.record(E, good("made-up-249"), "")
    await meter.flush()
    assert await redis.hlen(keys.usage("2026-03-02")) == 1
    (row,) = (await report(redis, "model", first=date(2026, 3, 2), last=date(2026, 3, 2))).rows
    assert row.group["model"] == "made-up-249"


@pytest.mark.parametrize("model", ["", "org/m:7b", "a\x1fb", "a,b", "\ud800", "模型", "\0\r\n"])
async def test_any_name_can_be_counted(redis: AsyncRedis, line: BadLine, model: str) -> None:
    meter = UsageMeter(line, Clock())
    meter.record(E, good(model), "k")
    meter.record(E, good(model), "k")
    await meter.flush()
    (row,) = (await report(redis, "provider", "model", "endpoint", "key")).rows
    shown = model.replace("\x1f", " ").replace("\ud800", "?")
    assert (row.group, row.requests) == ({"provider": "vllm", "model": shown, "endpoint": "e", "key": "k"}, 2)


async def test_big_sums_stay_exact(redis: AsyncRedis, line: BadLine) -> None:
    meter = UsageMeter(line, Clock())
    for cost in (4_000_000.0, 0.000000001):
        meter.record(E, Outcome("e", 0.1, 200, usage=Usage(2**40, 1), model="m", cost=cost), "")
        await meter.flush()
    found = await total(redis)
    assert (found.input_tokens, found.cost) == (2**41, 4_000_000.000000001)


async def test_every_attempt_of_a_fleet_is_counted_by_the_time_it_is_closed(redis: AsyncRedis) -> None:
    today = datetime.now(UTC).date()
    server = await serve(Behaviour())
    endpoints = [
        Endpoint(server.url, name="up", provider="vllm", models={"small": "upstream"}, price=Price(1.0, 2.0)),
        Endpoint("http://127.0.0.1:1/v1", name="down", provider="vllm", models={"small": "upstream"}),
    ]
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
    async with Fleet(endpoints, state_on(redis, "p", endpoints), 5.0) as fleet:
        outcome = await chat(fleet, "up", body, "alice")
        await chat(fleet, "down", body)
        await streamed_chat(fleet, "up", body, owner="alice")
    await server.close()
    rows = {row.group["endpoint"]: row for row in (await report(redis, "endpoint", "model", "key", first=today, last=today)).rows}
    assert rows["up"].group == {"endpoint": "up", "model": "upstream", "key": "alice"}
    assert (rows["up"].requests, rows["up"].errors, rows["up"].input_tokens) == (2, 0, 2 * outcome.usage.prompt)
    assert outcome.cost and rows["up"].cost == pytest.approx(2 * outcome.cost)
    assert (rows["down"].requests, rows["down"].errors, rows["down"].cost, rows["down"].unpriced_requests) == (1, 1, 0.0, 0)


async def test_the_library_tells_before_it_closes_its_connection(redis_url: str, redis: AsyncRedis) -> None:
    today = datetime.now(UTC).date()
    server = await serve(Behaviour())
    endpoints = [Endpoint(server.url, name="up")]
    async with AsyncLoadBalancer(endpoints, "round_robin", enable_health_check=False, redis_url=redis_url) as balancer:
        assert (await balancer.chat([{"role": "user", "content": "Hello"}])).success
    await server.close()
    (row,) = (await report(redis, "endpoint", first=today, last=today)).rows
    # OpenAI's format, but not OpenAI: what it costs is not known.
    assert (row.requests, row.cost, row.unpriced_requests) == (1, None, 1)


async def test_a_hung_redis_does_not_hold_up_the_end(
    line: BadLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "FLUSH_AT_THE_END", 0.05)
    line.hung = True
    meter = UsageMeter(line, Clock())
    meter.record(E, good(), "")
    await meter.aclose()
    assert "1 requests are missing" in caplog.text


def test_without_redis_there_is_no_account() -> None:
    assert local_state([E]).usage is None
