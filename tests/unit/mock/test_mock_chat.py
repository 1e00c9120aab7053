from __future__ import annotations

import asyncio
import time

import orjson
import pytest
from simulated_server import Running, StartServer

LONG_S = 3600.0


async def test_an_answer_comes_after_the_latency_and_its_jitter(start: StartServer) -> None:
    running = await start(latency=0.05, jitter=0.02)
    began = time.monotonic()
    response = await running.chat()
    assert response.status_code == 200
    assert time.monotonic() - began >= 0.045  # timers count whole milliseconds


async def test_requests_wait_side_by_side_and_are_seen_in_flight(start: StartServer) -> None:
    running = await start(latency=LONG_S)
    waiting = [asyncio.create_task(running.chat(user=f"u{number % 2}")) for number in range(5)]
    await running.until_in_flight(5)
    assert (await running.get("keys_in_flight"))["keys"] == {"u0": 3, "u1": 2}
    stats = await running.stats()
    assert (stats["in_flight"], stats["max_in_flight"], stats["completed"]) == (5, 5, 0)
    assert "5" in (await running.get("in_flight_samples"))["seconds_at"]
    for task in waiting:
        task.cancel()
    await running.until_in_flight(0)
    stats = await running.stats()
    assert (stats["requests"], stats["aborted"], stats["max_in_flight"]) == (5, 5, 5)
    assert (await running.get("keys_in_flight"))["keys"] == {}


async def test_an_aborted_request_is_not_answered_when_its_time_comes(start: StartServer) -> None:
    running = await start(latency=0.05)
    left = asyncio.create_task(running.chat())
    await running.until_in_flight(1)
    left.cancel()
    await running.until_in_flight(0)
    assert (await running.chat()).status_code == 200  # is due later than the other was
    stats = await running.stats()
    assert (stats["requests"], stats["aborted"], stats["completed"]) == (2, 1, 1)


async def test_more_than_the_concurrency_is_refused(start: StartServer) -> None:
    running = await start(latency=LONG_S, max_concurrency=2)
    waiting = [asyncio.create_task(running.chat()) for _ in range(2)]
    await running.until_in_flight(2)
    refused = await running.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_is_overloaded")
    assert (await running.stats())["max_in_flight"] == 2
    for task in waiting:
        task.cancel()
    await running.until_in_flight(0)


async def test_over_the_rate_limit_the_answer_says_when_to_come_back(start: StartServer) -> None:
    running = await start(rate_limit=30)
    assert (await running.chat()).status_code == 200
    refused = await running.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "2"
    assert 1000 < int(refused.headers["retry-after-ms"]) <= 2000
    await running.change(rate_limit=0)
    assert (await running.chat()).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"messages": [', None),
        (b"", None),
        (b'{"model": "m"}', "messages"),
    ],
)
async def test_a_bad_body_gets_400_and_counts_as_an_error(running: Running, body: bytes, param: str | None) -> None:
    response = await running.client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    stats = await running.stats()
    assert (stats["errors"], stats["in_flight"], stats["max_in_flight"]) == (1, 0, 0)


async def test_a_stream_comes_as_events_with_its_usage(running: Running) -> None:
    response = await running.chat(stream=True, stream_options={"include_usage": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert orjson.loads(events[-3].removeprefix("data: "))["usage"]["completion_tokens"] == 5
    assert (await running.stats())["completed"] == 1


async def test_a_stream_with_a_gap_comes_bit_by_bit(start: StartServer) -> None:
    running = await start(latency_per_token=0.01)
    began = time.monotonic()
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with running.client.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    assert len(pieces) > 1
    assert pieces[-1].endswith(b"data: [DONE]\n\n")
    assert time.monotonic() - began >= 0.04
    assert (await running.stats())["completed"] == 1


async def test_a_client_that_leaves_a_stream_is_counted_as_aborted(start: StartServer) -> None:
    running = await start(latency_per_token=LONG_S)
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with running.client.stream("POST", "/v1/chat/completions", json=body):
        assert running.simulation.in_flight.now == 1
    await running.until_in_flight(0)
    stats = await running.stats()
    assert (stats["aborted"], stats["completed"], stats["errors"]) == (1, 0, 0)


async def test_a_reset_forgets_the_requests_in_flight_for_the_totals_only(start: StartServer) -> None:
    running = await start(fault="hang")
    hanging = asyncio.create_task(running.chat())
    await running.until_in_flight(1)
    await running.client.post("/mock/reset")
    assert (await running.stats())["in_flight"] == 1
    await running.change(fault="none")
    assert (await hanging).status_code == 200
    stats = await running.stats()
    assert (stats["requests"], stats["completed"], stats["in_flight"]) == (0, 0, 0)


async def test_closing_the_server_cuts_off_what_is_in_flight(start: StartServer) -> None:
    running = await start(latency=LONG_S)
    reader, writer = await running.connect()
    body = b'{"messages":[{"role":"user","content":"Hi"}]}'
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await running.until_in_flight(1)
    await running.server.close()
    assert await reader.read() == b""
    assert (running.simulation.in_flight.now, running.simulation.tally.aborted) == (0, 1)
    writer.close()


async def test_answers_can_be_filled_up_to_a_size(start: StartServer) -> None:
    running = await start(answer_bytes=10_000)
    answer = (await running.chat()).json()
    assert 10_000 <= len(answer["choices"][0]["message"]["content"]) < 10_020
    assert answer["usage"]["completion_tokens"] > 1000
