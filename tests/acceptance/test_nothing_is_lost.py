"""Invariants 1, 4 and 6 on real processes that are really killed: every line ends once, and little is sent twice."""

import asyncio
import signal
import time
from collections import Counter

import redis as sync_redis

from jobs.dispatch.queueing import queue_name
from jobs.records.states import JobStatus
from tests.acceptance.cluster import Cluster, ModelServer, check_each_once, done_lines, ended, recorded, submit
from tests.waiting import until

ELSEWHERE_WITHIN = 20.0
"""Seconds after which a dead worker's lines must be running elsewhere."""


def ids(count: int) -> list[str]:
    return [f"line-{number:05d}" for number in range(count)]


def sent_twice(*servers: ModelServer) -> set[str]:
    total: Counter[str] = Counter()
    for server in servers:
        total += server.seen()
    return {key for key, times in total.items() if times > 1}


async def test_a_killed_worker_loses_no_line_and_only_lines_in_flight_are_sent_again(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 24}, latency=0.4)
    cluster.write_config()
    victim, _ = await cluster.start_worker(), await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(500)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > 100, what="the job to be under way")
        answered_before = set(model.answered())
        await until(lambda: recorded(node, job, answered_before), 2, "what is answered to be recorded")
        victim.kill()
        killed_at = time.monotonic()
        await until(lambda: sent_twice(model), ELSEWHERE_WITHIN, "the dead worker's lines to run elsewhere")
        assert time.monotonic() - killed_at < ELSEWHERE_WITHIN
        job = await ended(node, job)
        await check_each_once(node, job, names)
    again = sent_twice(model)
    assert again, "the worker was killed with nothing in flight: the test shows nothing"
    assert not again & answered_before
    assert max(model.seen().values()) == 2


async def test_redis_restarted_under_load_loses_no_line(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=0.2)
    cluster.write_config()
    workers = [await cluster.start_worker(), await cluster.start_worker()]
    async with cluster.node() as node:
        names = ids(500)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > 80, what="the job to be under way")
        assert cluster.redis_process
        cluster.redis_process.kill(signal.SIGKILL)
        await asyncio.sleep(1.0)  # Redis is away for a second while lines are in flight
        await cluster.restart_redis()
        job = await ended(node, job, 90)
        await check_each_once(node, job, names)
    assert all(worker.alive for worker in workers)


async def test_a_message_delivered_twice_changes_nothing(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.1)
    cluster.write_config()
    async with cluster.node() as node:
        names = ids(120)
        worker = await cluster.start_worker()
        queue = queue_name("m")
        with sync_redis.Redis.from_url(cluster.settings["redis_url"]) as broker:
            worker.handle.send_signal(signal.SIGSTOP)
            job = await submit(node, names)
            copies = await until(lambda: broker.lrange(queue, 0, -1), what="messages in the queue")
            broker.lpush(queue, *copies, *copies)
            worker.handle.send_signal(signal.SIGCONT)
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert not sent_twice(model)


async def test_a_message_deleted_from_its_queue_only_costs_time(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.05)
    cluster.write_config()
    worker = await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(60)
        with sync_redis.Redis.from_url(cluster.settings["redis_url"]) as broker:
            worker.handle.send_signal(signal.SIGSTOP)
            job = await submit(node, names)
            await until(lambda: broker.llen(queue_name("m")), what="messages in the queue")
            broker.delete(queue_name("m"))
            worker.handle.send_signal(signal.SIGCONT)
        job = await ended(node, job, 60)
        await check_each_once(node, job, names)
    assert not sent_twice(model)


async def test_an_endpoint_dead_at_start_that_comes_later_is_used(cluster: Cluster) -> None:
    late = await cluster.start_model("late", {"max_concurrency": 8}, latency=0.1)
    steady = await cluster.start_model("steady", {"max_concurrency": 8}, latency=0.1)
    cluster.write_config()
    late.kill()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(600)
        job = await submit(node, names)
        await until(lambda: steady.stats["completed"] > 100, what="the living endpoint to work")
        late.start()
        await until(late.answers, what="the dead endpoint to return")
        await until(lambda: late.stats["completed"] > 20, 30, "the returned endpoint to be given work")
        job = await ended(node, job)
        _, errors = await check_each_once(node, job, names)
    assert not errors


async def test_an_endpoint_that_dies_and_returns_mid_job_loses_no_line(cluster: Cluster) -> None:
    mortal = await cluster.start_model("mortal", {"max_concurrency": 8}, latency=0.1)
    await cluster.start_model("steady", {"max_concurrency": 8}, latency=0.1)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(800)
        job = await submit(node, names)
        await until(lambda: mortal.stats["completed"] > 50, what="the endpoint to work")
        mortal.kill()
        before = await done_lines(node, job)

        async def goes_on() -> bool:
            return await done_lines(node, job) > before + 60

        await until(goes_on, 20, "the other endpoint to go on")
        mortal.start()
        await until(mortal.answers, what="the endpoint to return")
        await until(lambda: mortal.stats["completed"] > 10, 30, "the returned endpoint to be given work")
        job = await ended(node, job)
        _, errors = await check_each_once(node, job, names)
    assert not errors


async def test_all_endpoints_down_for_a_while_only_costs_time(cluster: Cluster) -> None:
    models = [await cluster.start_model(name, {"max_concurrency": 8}, latency=0.1) for name in ("a", "b")]
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(400)
        job = await submit(node, names)
        await until(lambda: models[0].stats["completed"] > 40, what="the job to be under way")
        for model in models:
            model.kill()
        await asyncio.sleep(6.0)  # the outage
        for model in models:
            model.start()
        job = await ended(node, job)
        _, errors = await check_each_once(node, job, names)
    assert not errors


async def test_a_cancelled_job_keeps_what_is_finished_and_accounts_for_the_rest(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.2)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(400)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > 40, what="the job to be under way")
        await node.service.cancel(job.id)
        job = await ended(node, job, 15)
        output, errors = await check_each_once(node, job, names)
    assert job.status is JobStatus.CANCELLED
    assert len(output) >= 30
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    assert model.stats["completed"] - 8 <= len(output) <= model.stats["completed"], "what is in flight is taken back"


async def test_an_expired_job_keeps_what_is_finished_and_accounts_for_the_rest(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 4}, latency=0.3)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(400)
        job = await submit(node, names, window="8s")
        job = await ended(node, job, 30)
        output, errors = await check_each_once(node, job, names)
    assert job.status is JobStatus.EXPIRED
    assert output
    assert {row["error"]["code"] for row in errors} == {"batch_expired"}


async def test_a_worker_that_is_asked_to_stop_hands_back_within_ten_seconds(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=1.0)
    cluster.write_config()
    leaving, _ = await cluster.start_worker(), await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(200)
        job = await submit(node, names)
        await until(lambda: model.stats["completed"] > 16, what="the job to be under way")
        stopped_at = time.monotonic()
        leaving.kill(signal.SIGTERM)
        assert time.monotonic() - stopped_at < 10
        job = await ended(node, job)
        await check_each_once(node, job, names)
    assert not sent_twice(model), "a stopping worker lets its lines in flight finish"
