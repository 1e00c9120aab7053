"""Lines of a key's jobs are paced by its rates, together with its interactive requests."""

import asyncio
import time
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from worker_bench import Worker, mock

from balancer.outcome import Usage
from balancer.state.rate_limits.shared import expected_tokens
from jobs.access import redis_keys
from jobs.access.pacing import AHEAD_SECONDS, KeyPacer, paced_lines
from jobs.records import Job
from workers.shards.run_context import Ending

KEY = "key_1"
BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}


async def bucket(worker: Worker, kind: str) -> float:
    return float(await worker.bench.redis.hget(redis_keys.limits(KEY), kind) or -1)


async def empty(worker: Worker) -> None:
    now = f"{time.time():.6f}"
    await worker.bench.redis.hset(
        redis_keys.limits(KEY), mapping={"requests": 0, "requests_at": now, "tokens": 0, "tokens_at": now}
    )


def of_key(job: Job, rpm: int = 0, tpm: int = 0) -> Job:
    return replace(job, owner=KEY, key_rpm=rpm, key_tpm=tpm)


async def test_lines_go_at_the_pace_of_their_key(worker: Worker) -> None:
    await worker.start(mock("a"))
    started = time.monotonic()
    await empty(worker)
    job, shard = await worker.shard(6)
    assert (await worker.run(of_key(job, rpm=600), shard).run()).ending is Ending.LAST
    assert time.monotonic() - started >= 0.55, "ten a second, from an empty bucket on"
    assert worker.servers["a"].simulation.tally.requests == 6


async def test_tokens_are_taken_and_corrected_by_what_was_used(worker: Worker) -> None:
    await worker.start(mock("a"))
    job, shard = await worker.shard(4)
    assert (await worker.run(of_key(job, tpm=1_000_000), shard).run()).ending is Ending.LAST
    job = await worker.bench.jobs.get(job.id)
    used = job.tokens.prompt + job.tokens.completion
    assert 1_000_000 - used <= await bucket(worker, "tokens") <= 1_000_000 - used + 1_000_000 / 60


async def test_a_line_waits_for_its_tokens_and_no_longer(worker: Worker) -> None:
    await worker.start(mock("a"))
    pacer, job = KeyPacer(worker.bench.redis), of_key((await worker.shard(1))[0], tpm=60_000)
    await empty(worker)
    started = time.monotonic()
    await asyncio.gather(*(pacer.take(job, BODY) for _ in range(4)))
    expected = 4 * expected_tokens(BODY) / 1_000
    assert expected * 0.9 <= time.monotonic() - started < expected * 3


async def test_an_answer_is_kept_though_its_tokens_cannot_be_recorded(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    await worker.start(mock("a"))
    pacer, job = KeyPacer(worker.bench.redis), of_key((await worker.shard(1))[0], tpm=60_000)

    async def fail(*_: object) -> None:
        raise RedisConnectionError("away")

    pacer._scripts.run = fail  # type: ignore[method-assign,assignment]
    await pacer.settle(job, BODY, Usage(5, 5))
    assert "could not be recorded" in caplog.text


async def test_jobs_without_a_rate_ask_nothing(worker: Worker) -> None:
    await worker.start(mock("a"))
    job, shard = await worker.shard(3)
    assert (await worker.run(replace(job, owner=KEY), shard).run()).ending is Ending.LAST
    assert not await worker.bench.redis.exists(redis_keys.limits(KEY))


@pytest.mark.parametrize(
    ("rpm", "tpm", "tokens", "lines"),
    [
        (0, 0, 100.0, float("inf")),
        (600, 0, 100.0, 10 * AHEAD_SECONDS),
        (0, 60_000, 100.0, 10 * AHEAD_SECONDS),
        (600, 6_000, 100.0, AHEAD_SECONDS),
        (1, 0, 100.0, 1.0),
    ],
)
def test_open_lines_are_bounded_by_the_rates(rpm: int, tpm: int, tokens: float, lines: float) -> None:
    assert paced_lines(rpm, tpm, tokens) == pytest.approx(lines)
