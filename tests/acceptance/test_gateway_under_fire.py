"""The gateway in a process of its own, with more of everything than is comfortable."""

import asyncio
import resource
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from tests.acceptance.cluster import Cluster, ModelServer, Process, submit
from tests.acceptance.raw_http import Answer, ask, begin
from tests.acceptance.stream_source import FLOOD, HELD, SAID, StreamSource
from tests.waiting import until

KB, MB = 1024, 1024 * 1024


async def start_gateway(cluster: Cluster, **settings: Any) -> tuple[Process, int]:
    cluster.write_config(**settings)
    process, url = await cluster.start_api()
    return process, int(url.rpartition(":")[2])


async def start_gateway_before(cluster: Cluster, source: StreamSource, max_concurrency: int) -> tuple[Process, int]:
    """Start one that has been used a little, so that what it needs from now on is for the streams alone."""
    endpoint = {"name": "source", "url": source.url, "models": [HELD, FLOOD], "max_concurrency": max_concurrency}
    process, port = await start_gateway(cluster, endpoints=[endpoint])
    source.go_on.set()
    await asyncio.gather(*(ask(port, request("warm", stream=True)) for _ in range(20)))
    source.go_on.clear()
    return process, port


def request(content: str, model: str = HELD, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


def resident(process: Process) -> int:
    memory: int = psutil.Process(process.pid).memory_info().rss
    return memory


@contextmanager
def usual_descriptor_limit() -> Iterator[None]:
    """Start processes as most systems do; this one goes on with as many as it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def ticks(per_second: float, seconds: float) -> AsyncIterator[int]:
    """Yield numbers at an even pace, however long their use takes."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(round(per_second * seconds)):
        await asyncio.sleep(started + number / per_second - loop.time())
        yield number


STREAMS = 1000
MEMORY_OF_A_STREAM = 160 * KB
"""Measured: about 95 KB."""


async def test_a_thousand_streams_are_open_at_once_in_one_process(cluster: Cluster) -> None:
    async with StreamSource() as source:
        with usual_descriptor_limit():
            process, port = await start_gateway_before(cluster, source, STREAMS + 100)
        before = resident(process)
        streams = await asyncio.gather(*(begin(port, request(f"s-{n}", stream=True)) for n in range(STREAMS)))
        grown = resident(process) - before
        assert [stream.status for stream in streams] == [200] * STREAMS
        assert source.open >= STREAMS, "they were not open all at once"
        source.go_on.set()
        answers = await asyncio.gather(*(stream.whole() for stream in streams))
    assert all(answer.is_done for answer in answers)
    assert [answer.text for answer in answers] == [f"s-{n}{SAID}" for n in range(STREAMS)]
    assert grown < STREAMS * MEMORY_OF_A_STREAM, f"{grown / STREAMS / KB:.0f} KB a stream"


READERS = 50
FLOOD_BYTES = 50 * MB
MEMORY_OF_A_STUCK_READER = 2 * MB
"""Measured: about 1.1 MB."""
OTHERS_TAKE = 5.0
"""Seconds, at most. Measured: 0.4."""


async def test_readers_that_do_not_read_hold_up_no_other_and_take_no_memory(cluster: Cluster) -> None:
    async with StreamSource(FLOOD_BYTES) as source:
        process, port = await start_gateway_before(cluster, source, 4 * READERS)
        source.go_on.set()
        before = resident(process)
        stuck = [await begin(port, request("much", FLOOD, stream=True), receive_buffer=16 * KB) for _ in range(READERS)]
        answers = await asyncio.gather(*(ask(port, request(f"s-{n}", stream=True)) for n in range(READERS)))
        assert [answer.text for answer in answers] == [f"s-{n}{SAID}" for n in range(READERS)]
        assert max(answer.seconds for answer in answers) < OTHERS_TAKE
        await until(lambda: source.still_for > 0.5, what="the floods to be held back")
        assert len(source.flooded) == READERS
        assert max(source.flooded) < FLOOD_BYTES / 2, "the gateway reads on for a reader that does not"
        assert resident(process) - before < READERS * MEMORY_OF_A_STUCK_READER
        late = await stuck.pop().whole()
        assert late.is_done and len(late.text) >= FLOOD_BYTES * 0.99, "one that reads on gets everything"
        for stream in stuck:
            stream.drop()
        await until(lambda: not source.open, what="the streams of readers that went away to be ended")


RATE = 100
"""Requests a second; every fifth is streamed."""
KILLED_AT, BACK_AT, ENDS_AT, LATEST = 3, 6, 8, 20
"""Seconds; it ends as soon as the endpoint is used again, but not before `ENDS_AT` or after `LATEST`."""


@pytest.mark.exclusive
async def test_a_killed_endpoint_costs_no_caller_an_answer(cluster: Cluster) -> None:
    mortal, other = [
        await cluster.start_model(name, {"max_concurrency": 200}, latency=0.1, latency_per_token=0.02)
        for name in ("mortal", "other")
    ]
    _, port = await start_gateway(cluster, strategy="round_robin", timeout=10.0)
    await cluster.start_worker()  # it checks the endpoints' health
    asked: list[asyncio.Task[Answer]] = []
    async for number in ticks(RATE, LATEST):
        if number == KILLED_AT * RATE:
            assert mortal.stats["completed"] > RATE, "it had no share: the test shows nothing"
            mortal.kill()
        if number == BACK_AT * RATE:
            mortal.start()
        if number >= ENDS_AT * RATE and number % (RATE // 2) == 0 and mortal.answered():
            break
        body = request(f"r-{number}", "simulated", user=f"r-{number}", stream=number % 5 == 0)
        asked.append(asyncio.create_task(ask(port, body)))
    answers = await asyncio.gather(*asked)
    assert [answer for answer in answers if answer.status != 200] == []
    broken = {n for n, answer in enumerate(answers) if n % 5 == 0 and not answer.is_done}
    assert all(KILLED_AT - 0.5 < n / RATE <= KILLED_AT for n in broken), "only those under way may break"
    # What had come may be no more than the chunk that names the role.
    ends = [(len(answers[n].events) > 1, answers[n].events[-1].get("error", {}).get("code")) for n in sorted(broken)]
    assert ends == [(True, "connection_error")] * len(broken)
    after = [f"r-{n}" for n in range(KILLED_AT * RATE + 1, len(asked))]
    by_other, by_mortal = other.answered(), mortal.answered()
    assert [key for key in after if by_other[key] + by_mortal[key] != 1] == [], "each is answered once"
    assert by_mortal, "it is not used again"


SLOTS = 16
LATENCY = 0.3
"""Seconds that each answer takes."""
LINES = 4000
ADDED_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds: of the median, and of the one that comes first and finds no room kept. Measured: 0.01 and 0.4."""


@pytest.mark.exclusive
async def test_interactive_requests_have_room_beside_a_job_that_takes_everything(cluster: Cluster) -> None:
    models = [await cluster.start_model(name, {"max_concurrency": SLOTS}, latency=LATENCY) for name in ("one", "two")]
    _, port = await start_gateway(cluster)
    for _ in range(2):
        await cluster.start_worker()
    async with cluster.node() as node:
        job = await submit(node, [f"line-{n}" for n in range(LINES)])
        await until(lambda: min(in_flight(model) for model in models) >= SLOTS - 2, what="a full fleet")
        asked, busy = [], []
        async for number in ticks(5, 6):
            asked.append(asyncio.create_task(ask(port, request(f"r-{number}", "simulated"))))
            busy.append(sum(await asyncio.gather(*(asyncio.to_thread(in_flight, model) for model in models))))
        answers = await asyncio.gather(*asked)
        ledger = (await node.service.jobs.get(job.id)).ledger
    assert ledger.failed == 0 and ledger.done < LINES, "the job ended too early: the test shows nothing"
    assert statistics.median(busy) > len(models) * SLOTS / 2, "the fleet was not busy: the test shows nothing"
    assert {answer.status for answer in answers} == {200}
    waits = [answer.seconds - LATENCY for answer in answers]
    assert statistics.median(waits) < ADDED_WAIT, f"{statistics.median(waits):.3f} s; longest {max(waits):.3f} s"
    assert max(waits) < LONGEST_WAIT


def in_flight(model: ModelServer) -> int:
    found: int = model.stats["in_flight"]
    return found
