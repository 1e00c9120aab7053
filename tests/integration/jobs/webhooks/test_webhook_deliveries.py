"""Events of jobs are delivered to a real receiver, again and again until it takes them."""

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import orjson
import pytest

from jobs.records import Job
from jobs.records.states import PauseReason
from jobs.storage import keys
from jobs.webhooks import EVENTS, Webhook, delivery
from jobs.webhooks.delivery import Deliveries, Delivery, deliveries_of
from tests.job_bench import Bench
from tests.receiver import Receiver

PATIENCE_S = 10.0
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
async def deliveries(bench: Bench) -> AsyncIterator[Deliveries]:
    made = Deliveries(bench.redis, bench.jobs, private_addresses=True)
    yield made
    await made.aclose()


async def job_with_webhook(bench: Bench, url: str, events: tuple[str, ...] = EVENTS) -> Job:
    job = await bench.open_real_job(4)
    await bench.redis.hset(keys.job(job.id), "webhook", Webhook(url, SECRET, events).as_json())
    return job


async def finish(bench: Bench, job: Job) -> None:
    await bench.work(await bench.cut(job, 0, 4), failed=[1])
    assert await bench.assembly().end_if_done(job.id)


async def send(bench: Bench, deliveries: Deliveries, now: bool = False) -> None:
    """Send what is due, and wait for it; with `now`, also what is to be sent later."""
    if now:
        for member in await bench.redis.zrange(keys.EVENTS, 0, -1):
            await bench.redis.zadd(keys.EVENTS, {member: 0})
    await deliveries.send_due()
    await asyncio.gather(*deliveries._sending.values())


async def only(bench: Bench, job: Job) -> Delivery:
    [found] = await deliveries_of(bench.redis, job.id)
    return found


async def test_the_end_of_a_job_is_sent_once(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    job = await job_with_webhook(bench, receiver.url)
    await finish(bench, job)
    await send(bench, deliveries)
    await send(bench, deliveries)
    [message] = receiver.received
    body = orjson.loads(message.body)
    assert (message.path, body["type"], body["object"], body["id"]) == (
        "/hook", "batch.completed", "event", message.headers["webhook-id"],
    )  # fmt: skip
    data = body["data"]
    assert (data["id"], data["status"], data["total"], data["completed"], data["failed"]) == (job.id, "completed", 4, 3, 1)
    assert data["output_file_id"] == (await bench.jobs.get(job.id)).output_file_id
    stamp = int(message.headers["webhook-timestamp"])
    signature = Webhook(receiver.url, SECRET).signature(body["id"], stamp, message.body)
    assert message.headers["webhook-signature"] == signature
    found = await only(bench, job)
    assert (found.state, [attempt.status for attempt in found.attempts]) == ("delivered", [204])
    assert not await bench.redis.exists(keys.EVENTS)


async def test_it_is_sent_again_until_it_is_taken(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    receiver.answer = [500, 302, 429, 200].__getitem__
    job = await job_with_webhook(bench, receiver.url)
    await finish(bench, job)
    for attempts in range(1, 4):
        await send(bench, deliveries, now=True)
        found = await only(bench, job)
        wait = delivery.WAITS[attempts - 1]
        assert found.next_at is not None
        assert 0.8 * wait - 1 <= found.next_at - found.attempts[-1].at <= 1.2 * wait + 1
        assert await bench.redis.zscore(keys.EVENTS, f"{job.id}:1:completed") == found.next_at
    await send(bench, deliveries)  # not before it is due
    assert len(receiver.received) == 3
    await send(bench, deliveries, now=True)
    found = await only(bench, job)
    assert (found.state, [attempt.status for attempt in found.attempts]) == ("delivered", [500, 302, 429, 200])
    assert {message.path for message in receiver.received} == {"/hook"}, "no redirect is followed"
    assert len({message.body for message in receiver.received}) == 1
    assert len({message.headers["webhook-id"] for message in receiver.received}) == 1


async def test_it_is_given_up_after_a_day(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    assert 20 * 3600 < sum(delivery.WAITS) <= 86400
    job = await job_with_webhook(bench, "http://127.0.0.1:9/")
    await finish(bench, job)
    for _ in delivery.WAITS:
        await send(bench, deliveries, now=True)
        assert (await only(bench, job)).state == "pending"
    await send(bench, deliveries, now=True)
    found = await only(bench, job)
    assert (found.state, found.next_at, len(found.attempts)) == ("failed", None, len(delivery.WAITS) + 1)
    assert all(attempt.error and attempt.status is None for attempt in found.attempts)
    assert not await bench.redis.exists(keys.EVENTS)


async def test_a_receiver_that_wants_no_more_gets_no_more(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    receiver.answer = lambda n: 410
    job = await job_with_webhook(bench, receiver.url)
    await finish(bench, job)
    await send(bench, deliveries)
    assert (await only(bench, job)).state == "failed"
    assert not await bench.redis.exists(keys.EVENTS)


async def test_only_wanted_events_are_sent(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    job = await job_with_webhook(bench, receiver.url, ("batch.failed", "batch.paused"))
    await finish(bench, job)
    await send(bench, deliveries)
    assert not receiver.received
    assert not await deliveries_of(bench.redis, job.id)
    assert not await bench.redis.exists(keys.EVENTS)


async def test_a_job_without_a_webhook_has_no_events(bench: Bench) -> None:
    await finish(bench, await bench.open_real_job(4))
    assert not await bench.redis.exists(keys.EVENTS)


async def test_each_pause_is_an_event(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    job = await job_with_webhook(bench, receiver.url)
    for held in ("1", "", "1"):
        await bench.jobs.steer(job.id, {"held": held})
    await send(bench, deliveries)
    bodies = [orjson.loads(message.body) for message in receiver.received]
    assert [body["type"] for body in bodies] == ["batch.paused", "batch.paused"]
    assert bodies[0]["data"]["paused"] == PauseReason.HELD
    assert len({body["id"] for body in bodies}) == 2


async def test_the_events_of_a_deleted_job_are_forgotten(bench: Bench, deliveries: Deliveries, receiver: Receiver) -> None:
    job = await job_with_webhook(bench, receiver.url)
    await finish(bench, job)
    await bench.redis.delete(keys.job(job.id))
    await send(bench, deliveries)
    assert not receiver.received
    assert not await bench.redis.exists(keys.EVENTS)


async def test_a_private_address_is_not_connected_to(bench: Bench, receiver: Receiver) -> None:
    # `localhost` was a public name when the job was made.
    deliveries = Deliveries(bench.redis, bench.jobs, private_addresses=False)
    job = await job_with_webhook(bench, f"http://localhost:{receiver.port}/hook")
    await finish(bench, job)
    await send(bench, deliveries)
    await deliveries.aclose()
    assert not receiver.received
    [attempt] = (await only(bench, job)).attempts
    assert attempt.error is not None
    assert "a private address" in attempt.error


async def test_the_address_that_was_looked_at_is_connected_to(
    bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looked_up(host: str, port: int) -> str:
        assert (host, port) == ("hooks.invalid", receiver.port)
        return "127.0.0.1"

    monkeypatch.setattr(delivery, "public_address", looked_up)
    deliveries = Deliveries(bench.redis, bench.jobs, private_addresses=False)
    await finish(bench, await job_with_webhook(bench, f"http://hooks.invalid:{receiver.port}/hook"))
    await send(bench, deliveries)
    await deliveries.aclose()
    [message] = receiver.received
    assert message.headers["host"] == f"hooks.invalid:{receiver.port}"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_one_that_does_not_answer_holds_up_no_other(
    bench: Bench, deliveries: Deliveries, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(delivery, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = await job_with_webhook(bench, f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/")
        await finish(bench, slow)
        fast = await job_with_webhook(bench, receiver.url)
        await finish(bench, fast)
        await send(bench, deliveries)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            while connection.recv(65536):
                pass  # until it is closed
    assert len(receiver.received) == 1
    assert (await only(bench, slow)).attempts[0].error == "no answer within 0.5 s"


async def test_while_one_process_sends_an_event_no_other_does(bench: Bench, receiver: Receiver) -> None:
    answering = threading.Event()
    receiver.answer = lambda n: 204 if answering.wait(10.0) else 500
    await finish(bench, await job_with_webhook(bench, receiver.url))
    first, second = (Deliveries(bench.redis, bench.jobs, private_addresses=True) for _ in range(2))
    await first.send_due()
    sending = list(first._sending.values())
    await second.send_due()
    assert not second._sending
    answering.set()
    await asyncio.gather(*sending)
    assert len(receiver.received) == 1
    await first.aclose()
    await second.aclose()
