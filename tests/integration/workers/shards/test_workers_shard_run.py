"""Runs of single shards."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from worker_bench import Worker, mock

from api_roadbalancer.mock import Behaviour
from balancer.endpoint import Endpoint, Price
from balancer.http import HttpAnswer
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state.health import HealthPolicy
from balancer.state.slots.fair_queue import Flow
from jobs.intake.files import Upload
from jobs.records.states import JobStatus
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.job_bench import new_job
from tests.waiting import until
from workers.shards import line_sender
from workers.shards.run_context import Ending, ShardEnd


async def test_all_lines_of_a_good_shard_end_in_its_part(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=8, price=Price(1.0, 2.0)), a={"latency": 0.001})
    job, shard = await worker.shard(100)
    assert await worker.run(job, shard).run() == ShardEnd(Ending.LAST)
    results = await worker.results(job)
    assert sorted(results) == list(range(100))
    failed, line = results[42]
    assert (failed, line["custom_id"], line["error"]) == (False, "c42", None)
    assert (line["endpoint"], line["attempts"]) == ("a", 1)
    response = line["response"]
    assert isinstance(response, dict) and response["status_code"] == 200
    assert response["body"]["object"] == "chat.completion"
    assert worker.servers["a"].simulation.in_flight.maximum <= 8
    assert set(worker.servers["a"].simulation.tally.seen_keys.values()) == {1}
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.completed, job.shares, job.unpriced) == (100, {"a": 100}, 0)
    assert job.cost == pytest.approx((job.tokens.prompt + 2 * job.tokens.completion) / 1e6)
    assert await worker.bench.assembly().end_if_done(job.id)
    assert (await worker.bench.jobs.get(job.id)).status is JobStatus.COMPLETED
    assert worker.nothing_is_held()


@pytest.mark.parametrize("fault", ["500", "503", "429", "html", "broken_json", "truncated_json", "close", "reset_mid_body"])
async def test_a_line_that_fails_is_sent_elsewhere_at_once(worker: Worker, fault: str) -> None:
    await worker.start(mock("a"), mock("b"), a={"fault": fault})
    job, shard = await worker.shard(20)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    results = await worker.results(job)
    assert not any(failed for failed, _ in results.values())
    assert sum(int(line["attempts"]) for _, line in results.values()) == 20 + worker.servers["a"].simulation.tally.requests
    assert worker.servers["b"].simulation.tally.completed == 20
    assert worker.nothing_is_held()


async def test_a_request_that_hangs_is_sent_elsewhere_after_its_time(worker: Worker) -> None:
    await worker.start(mock("a"), mock("b"), timeout=0.3, a={"fault": "hang"})
    job, shard = await worker.shard(5)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert (await worker.bench.jobs.get(job.id)).shares == {"b": 5}


async def test_a_line_of_a_process_that_was_frozen_is_sent_on_a_slot_that_still_holds(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.start(mock("a", max_concurrency=2))
    job, shard = await worker.shard(6)
    slots, http = worker.fleet.slots, worker.fleet._client
    send, frozen = http.send, [False, True] * 6

    async def frozen_while_sending(*args: Any) -> HttpAnswer:
        """The process is stopped for longer than the lease when there is a connection, and all but the bytes has been made."""
        *others, before_sending = args
        is_stopped = frozen.pop()

        def late() -> None:
            gauge = slots._gauges["a"]  # type: ignore[attr-defined]
            held_until = gauge.valid_until
            gauge.valid_until = 0.0 if is_stopped else held_until
            try:
                before_sending()
            finally:
                gauge.valid_until = held_until

        return await send(*others, late)

    monkeypatch.setattr(http, "send", frozen_while_sending)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert not frozen, "six were not sent, and the same six on other slots"
    assert worker.servers["a"].simulation.tally.requests == 6
    assert worker.nothing_is_held()


async def test_a_refused_request_is_final_and_tried_once(worker: Worker) -> None:
    await worker.start(mock("a"), mock("b"), a={"fail_custom": ("prompt 3",)}, b={"fail_custom": ("prompt 3",)})
    job, shard = await worker.shard(5)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    results = await worker.results(job)
    assert [n for n, (failed, _) in results.items() if failed] == [3]
    _, line = results[3]
    response = line["response"]
    assert isinstance(response, dict) and response["status_code"] == 400 and "error" in response["body"]
    assert sum(s.simulation.tally.errors for s in worker.servers.values()) == 1
    assert (await worker.bench.jobs.get(job.id)).ledger.failed == 1


async def test_lines_that_fail_everywhere_wait_and_keep_the_others_results(worker: Worker) -> None:
    await worker.start(mock("a"), mock("b"), a={"fault": "500"}, b={"fault": "500", "fault_rate": 0.5})
    job, shard = await worker.shard(40)
    end = await worker.run(job, shard).run()
    assert end.ending is Ending.RETRY and end.waiting is not None
    assert (end.waiting.attempt, 0 < end.countdown < 1) == (1, True)
    done = (await worker.bench.jobs.get(job.id)).ledger.completed
    assert 0 < done < 40
    worker.servers["b"].simulation.change(Behaviour())
    worker.servers["b"].simulation.reset()
    again = await worker.bench.claim(end.waiting)
    assert (await worker.run(job, again, waits=1).run()).ending is Ending.LAST
    assert worker.servers["b"].simulation.tally.completed <= 40 - done  # what was finished is not sent again
    assert sorted(await worker.results(job)) == list(range(40))


async def test_lines_that_had_their_attempts_become_error_lines(worker: Worker) -> None:
    await worker.start(mock("a"), a={"fault": "500"})
    job, shard = await worker.shard(3)
    end = await worker.run(job, shard).run()
    assert end.waiting is not None
    assert (await worker.run(job, await worker.bench.claim(end.waiting), waits=1).run()).ending is Ending.LAST
    results = await worker.results(job)
    assert all(failed for failed, _ in results.values()) and len(results) == 3
    error = results[0][1]["error"]
    assert isinstance(error, dict) and error["code"] == "server_error"
    tried = results[0][1]
    failures = tried["failed_attempts"]
    assert isinstance(failures, list)
    assert (tried["line"], tried["endpoint"], tried["attempts"]) == (1, "a", len(failures)) and len(failures) >= 2
    assert {(each["endpoint"], each["code"]) for each in failures} == {("a", "server_error")}
    times = [each["at"] for each in failures]
    assert times == sorted(times) and 0 <= time.time() - times[0] < 60
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.failed, job.retries) == (3, 1)


async def test_an_outage_costs_no_attempt(worker: Worker) -> None:
    await worker.start(mock("a"), a={"fault": "close"})
    job, shard = await worker.shard(3)
    for waits in range(4):
        end = await worker.run(job, shard, waits).run()
        assert end.waiting is not None and end.waiting.attempt == 0
        shard = await worker.bench.claim(end.waiting)
    worker.servers["a"].simulation.change(Behaviour())
    assert (await worker.run(job, shard, 4).run()).ending is Ending.LAST


async def test_lines_whose_endpoint_is_away_are_not_given_up_with_those_at_fault(worker: Worker) -> None:
    await worker.start(
        mock("bad", models={"x": "x"}), mock("away", models={"y": "y"}), bad={"fault": "500"}, away={"fault": "close"}
    )
    job, shard = await worker.shard(6, "bad", models=("x", "y"))
    for waits in range(3):
        end = await worker.run(job, shard, waits).run()
        assert end.waiting is not None
        shard = await worker.bench.claim(end.waiting)
    job = await worker.bench.jobs.get(job.id)
    assert (job.ledger.failed, job.ledger.completed) == (3, 0)
    worker.servers["away"].simulation.change(Behaviour())
    assert (await worker.run(job, shard, 4).run()).ending is Ending.LAST
    assert (await worker.bench.jobs.get(job.id)).ledger.completed == 3


async def test_lines_of_a_healthy_model_do_not_wait_behind_those_of_another(worker: Worker) -> None:
    await worker.start(mock("a", models={"x": "x"}), mock("b", models={"y": "y"}), policy=HealthPolicy(first_open=60.0))
    await worker.fleet.health.check_failed(Outcome("a", 0.1, failure=Failure(FailureKind.SERVER, "m", 500)))
    await worker.fleet.health.refresh()
    job, shard = await worker.shard(10, "a", models=("x", "y"))
    end = await worker.run(job, shard).run()
    assert end.ending is Ending.RETRY
    assert (await worker.bench.jobs.get(job.id)).ledger.completed == 5


async def test_a_short_pause_is_waited_for_in_place(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await worker.start(mock("a"))
    await worker.fleet.health.refresh()
    limited = Failure(FailureKind.RATE_LIMIT, "m", 429, 0.3)
    worker.fleet.health.record(Outcome("a", 0.1, 429, failure=limited))
    await until(lambda: not worker.fleet.health["a"].usable)
    job, shard = await worker.shard(3)
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert line_sender.SHORT_WAIT > 0.3


async def test_a_stopped_run_hands_back_what_is_left_and_keeps_what_is_done(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=4), a={"latency": 0.02})
    job, shard = await worker.shard(100)
    run = worker.run(job, shard)
    running = asyncio.create_task(run.run())
    await until(lambda: run.done >= 8)
    run.stop()
    assert await running == ShardEnd(Ending.RETURNED)
    done = (await worker.bench.jobs.get(job.id)).ledger.completed
    assert 8 <= done < 100
    assert worker.servers["a"].simulation.tally.requests == done  # those in flight came to their end
    assert await worker.bench.table.returned_of(job.id) == [(0, 100)]
    assert worker.nothing_is_held()
    again = await worker.bench.claim(await worker.bench.cut_again(job, 0, 100))
    assert (await worker.run(job, again).run()).ending is Ending.LAST
    assert set(worker.servers["a"].simulation.tally.seen_keys.values()) == {1}


async def test_a_run_that_is_stopped_before_it_began_sends_nothing(worker: Worker) -> None:
    await worker.start(mock("a"))
    job, shard = await worker.shard(10)
    run = worker.run(job, shard)
    run.stop()
    assert await run.run() == ShardEnd(Ending.RETURNED)
    assert worker.servers["a"].simulation.tally.requests == 0


async def test_a_run_that_is_abandoned_takes_its_requests_back(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=4), timeout=60.0, a={"fault": "hang"})
    job, shard = await worker.shard(10)
    run = worker.run(job, shard)
    running = asyncio.create_task(run.run())
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 4)
    run.abandon()
    async with asyncio.timeout(1):
        assert await running == ShardEnd(Ending.RETURNED)
    assert worker.nothing_is_held()
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 0, 1.0)


async def test_a_run_that_is_lost_takes_its_requests_back(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=4), timeout=60.0, a={"fault": "hang"})
    job, shard = await worker.shard(10)
    run = worker.run(job, shard)
    running = asyncio.create_task(run.run())
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 4)
    run.lose()
    async with asyncio.timeout(1):
        assert await running == ShardEnd(Ending.LOST)
    assert worker.nothing_is_held()
    await until(lambda: worker.servers["a"].simulation.in_flight.now == 0, 1.0)


async def test_a_lost_run_writes_nothing(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=4), timeout=1.0, a={"latency": 0.05})
    job, shard = await worker.shard(40)
    run = worker.run(job, shard)
    running = asyncio.create_task(run.run())
    await until(lambda: run.done >= 4)
    assert await worker.bench.table.give_back(job.id, 0)  # as the janitor does
    again = await worker.bench.claim(await worker.bench.cut_again(job, 0, 40))
    async with asyncio.timeout(5):
        assert await running == ShardEnd(Ending.LOST)  # recording tells it
    assert run.lost
    assert worker.nothing_is_held()
    assert (await worker.run(job, again).run()).ending is Ending.LAST
    assert (await worker.bench.jobs.get(job.id)).ledger.completed == 40


@pytest.mark.parametrize("yields", range(6))
async def test_no_slot_is_lost_when_lines_are_cancelled_before_they_began(worker: Worker, yields: int) -> None:
    await worker.start(mock("a", max_concurrency=8), timeout=0.5, a={"fault": "hang"})
    job, shard = await worker.shard(20)
    run = worker.run(job, shard)
    began: list[asyncio.Task[None]] = []
    acquire = worker.fleet.slots.acquire

    async def abandoned(endpoint: str, flow: Flow) -> bool:
        taken = await acquire(endpoint, flow)
        if taken and len(began) == 0 and len(run._in_flight) >= yields:
            began.extend(run._in_flight)
            asyncio.get_running_loop().call_soon(run.abandon)
        return taken

    worker.fleet.slots.acquire = abandoned  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        await run.run()
    assert worker.nothing_is_held()


async def test_a_finished_shard_that_was_not_closed_is_closed_without_sending(worker: Worker) -> None:
    """As after a worker that died between its last line and the commit."""
    await worker.start(mock("a"))
    job, shard = await worker.shard(10)
    await worker.bench.record(shard, range(10))
    assert (await worker.run(job, shard).run()).ending is Ending.LAST
    assert worker.servers["a"].simulation.tally.requests == 0


async def test_several_shards_share_the_slots_and_the_budget(worker: Worker) -> None:
    await worker.start(mock("a", max_concurrency=5, rpm=60_000), a={"latency": 0.005})
    shards = [await worker.shard(30) for _ in range(3)]
    ends = await asyncio.gather(*(worker.run(job, shard).run() for job, shard in shards))
    assert {end.ending for end in ends} == {Ending.LAST}
    assert worker.servers["a"].simulation.in_flight.maximum <= 5


async def test_nothing_of_a_line_stands_in_the_log(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await worker.start(mock("a"), a={"fault": "truncated_json"}, policy=HealthPolicy(failures_to_open=1))
    job, shard = await worker.shard(3)
    await worker.run(job, shard).run()
    await worker.fleet.health.refresh()
    said = caplog.text + str(await worker.bench.redis.hgetall("rb:endpoint:a:health"))
    assert "prompt 1" not in said and "choices" not in said


def narrow(name: str) -> Endpoint:
    """An endpoint whose wire format has no word for `stop`. Nothing is ever sent there."""
    options = {"project_code": "p", "preset_hash": "h"}
    return Endpoint("http://127.0.0.1:9", name=name, provider="laas", models={"m": "m"}, api_key="k", options=options)


async def resting(worker: Worker, name: str, seconds: float = 0.5) -> None:
    limited = Failure(FailureKind.RATE_LIMIT, "m", 429, seconds)
    worker.fleet.health.record(Outcome(name, 0.1, 429, failure=limited))
    await until(lambda: not worker.fleet.health[name].usable)


async def run_one(worker: Worker, endpoint: str, **fields: object) -> ShardEnd:
    """Run a shard of one line with these fields."""
    body = {"messages": [{"role": "user", "content": "hi"}], **fields}
    line = orjson.dumps({"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": body})

    async def once() -> AsyncIterator[bytes]:
        yield line + b"\n"

    record = await worker.bench.files.add(Upload("in.jsonl"), once())
    job = await worker.bench.jobs.open(new_job(worker.bench.job_id(), record))
    return await worker.run(job, await worker.bench.claim(await worker.bench.cut(job, 0, 1, endpoint))).run()


STOP = {"model": "m", "stop": ["END"]}
"""What a narrow endpoint can't say."""


async def test_a_line_refused_here_waits_for_the_endpoint_that_rests(worker: Worker) -> None:
    await worker.start(narrow("narrow"), mock("wide", models={"m": "m"}))
    await resting(worker, "wide")
    assert (await run_one(worker, "narrow", **STOP)).ending is Ending.RETRY


async def test_refusals_use_no_attempts_up(worker: Worker) -> None:
    await worker.start(narrow("n1"), narrow("n2"), narrow("n3"), mock("wide", models={"m": "m"}, priority=1))
    assert (await run_one(worker, "n1", **STOP)).ending is Ending.LAST
    assert worker.servers["wide"].simulation.tally.completed == 1


async def test_a_refusal_elsewhere_does_not_end_a_line_whose_own_endpoint_may_recover(worker: Worker) -> None:
    await worker.start(mock("wide", models={"m": "m"}), narrow("narrow"), wide={"fault": "503"})
    end = await run_one(worker, "wide", **STOP)
    assert end.ending is Ending.RETRY and end.waiting is not None and end.waiting.attempt == 0


async def test_a_line_refused_everywhere_is_an_error_line(worker: Worker) -> None:
    await worker.start(narrow("n1"), narrow("n2"))
    assert (await run_one(worker, "n1", **STOP)).ending is Ending.LAST


async def test_a_line_too_long_for_one_model_waits_for_the_next_of_its_chain(worker: Worker) -> None:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as small:
        small.answer = small.fake.fail(FailureKind.CONTEXT_TOO_LONG)
        await worker.start(small.endpoint(name="small", models={"small": "small"}), mock("large", models={"large": "large"}))
        await resting(worker, "large")
        assert (await run_one(worker, "small", model="small,large")).ending is Ending.RETRY
        assert (await run_one(worker, "small", model="small")).ending is Ending.LAST


async def test_a_line_reaches_the_next_model_of_its_chain_however_many_replicas_fail(worker: Worker) -> None:
    replicas = [f"r{n}" for n in range(4)]
    endpoints = [mock(name, models={"m1": "m1"}) for name in replicas]
    await worker.start(*endpoints, mock("good", models={"m2": "m2"}), **{name: {"fault": "503"} for name in replicas})
    assert (await run_one(worker, "r0", model="m1,m2")).ending is Ending.LAST
    assert worker.servers["good"].simulation.tally.completed == 1


async def test_a_model_that_an_endpoint_has_not_is_asked_for_at_the_others(worker: Worker) -> None:
    lacking = {"models": ("other",)}
    await worker.start(mock("a", models={"m": "m"}), mock("b", models={"m": "m"}, priority=1), a=lacking, b={"models": ("m",)})
    job, shard = await worker.shard(6, "a")
    assert await worker.run(job, shard).run() == ShardEnd(Ending.LAST)
    assert {failed for failed, _ in (await worker.results(job)).values()} == {False}


async def test_an_unknown_model_is_an_error_line(worker: Worker) -> None:
    lacking = {"models": ("other",)}
    await worker.start(mock("a", models={"m": "m"}), mock("b", models={"m": "m"}), a=lacking, b=lacking)
    job, shard = await worker.shard(2, "a")
    assert await worker.run(job, shard).run() == ShardEnd(Ending.LAST)
    results = await worker.results(job)
    assert all(failed for failed, _ in results.values()) and len(results) == 2
    assert {server.simulation.tally.requests for server in worker.servers.values()} == {2}, "each has said so, once for each line"
