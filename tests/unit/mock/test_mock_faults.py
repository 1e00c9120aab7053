from __future__ import annotations

import asyncio
import random

import httpx
import orjson
import pytest
from simulated_server import Running, StartServer

from api_roadbalancer.mock.behaviour import Behaviour, Fault
from api_roadbalancer.mock.faults import draw_fault


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("500", 500, "server_error"),
        ("429", 429, "rate_limit_exceeded"),
        ("503", 503, "server_is_overloaded"),
    ],
)
async def test_a_status_fault_answers_with_its_envelope(start: StartServer, fault: str, status: int, code: str) -> None:
    running = await start(fault=fault)
    for stream in (False, True):
        response = await running.chat(stream=stream)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert "retry-after" not in response.headers
    stats = await running.stats()
    assert (stats["errors"], stats["by_status"]) == (2, {fault: 2})


@pytest.mark.parametrize("fault", ["429", "503"])
async def test_a_refusal_tells_the_time_to_wait_if_there_is_one(start: StartServer, fault: str) -> None:
    running = await start(fault=fault, retry_after=1.5)
    headers = (await running.chat()).headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")


async def test_html_comes_as_a_proxys_page(start: StartServer) -> None:
    running = await start(fault="html")
    response = await running.chat()
    assert (response.status_code, response.headers["content-type"]) == (502, "text/html")
    assert response.text.startswith("<html>")


@pytest.mark.parametrize("fault", ["broken_json", "truncated_json"])
async def test_a_spoilt_body_is_a_200_that_is_no_json_and_no_completion(start: StartServer, fault: str) -> None:
    running = await start(fault=fault)
    response = await running.chat(user="u")
    assert response.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(response.content)
    stats = await running.stats()
    assert (stats["completed"], stats["errors"], stats["by_status"]) == (0, 1, {"200": 1})
    assert (await running.get("requests"))["completed"] == {}


@pytest.mark.parametrize(("fault", "done"), [("broken_json", True), ("truncated_json", False)])
async def test_a_spoilt_stream_has_an_event_that_is_no_json(start: StartServer, fault: str, done: bool) -> None:
    running = await start(fault=fault)
    events = (await running.chat(stream=True)).text.strip().split("\n\n")
    assert (events[-1] == "data: [DONE]") is done
    chunks = [event.removeprefix("data: ") for event in events if event != "data: [DONE]"]
    assert [_is_json(chunk) for chunk in chunks].count(False) == 1
    assert (await running.stats())["errors"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["close", "reset_mid_body"])
async def test_a_cut_connection_is_an_error_for_both_sides(start: StartServer, fault: str, stream: bool) -> None:
    running = await start(fault=fault)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await running.chat(stream=stream)
    await running.until_in_flight(0)
    stats = await running.stats()
    status = "closed" if fault == "close" else "200"
    assert (stats["errors"], stats["aborted"], stats["by_status"]) == (1, 0, {status: 1})
    await running.change(fault="none")
    assert (await running.chat()).status_code == 200


async def test_half_a_body_arrives_before_the_reset(start: StartServer) -> None:
    running = await start(fault="reset_mid_body")
    reader, writer = await running.connect()
    body = b'{"messages":[{"role":"user","content":"Hi"}]}'
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    arrived = await reader.readuntil(b"chat.completion")
    assert arrived.startswith(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ConnectionResetError):
        while await reader.read(1024):
            pass
    writer.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_drip_is_whole_in_the_end(start: StartServer, stream: bool) -> None:
    running = await start(fault="slow_drip", drip_gap=0.002)
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    async with running.client.stream("POST", "/v1/chat/completions", json=body) as response:
        pieces = [piece async for piece in response.aiter_raw()]
    assert len(pieces) > 1
    assert b"Simulated" in b"".join(pieces)
    assert (await running.stats())["completed"] == 1


async def test_a_hanging_request_is_answered_when_the_behaviour_changes(start: StartServer) -> None:
    running = await start(fault="hang")
    hanging = asyncio.create_task(running.chat())
    await running.until_in_flight(1)
    await running.change(latency=0.001)  # still hangs
    assert (await running.stats())["in_flight"] == 1
    await running.change(fault="500")
    assert (await hanging).status_code == 500
    assert (await running.stats())["in_flight"] == 0


async def test_a_client_that_leaves_a_hanging_request_is_counted_as_aborted(start: StartServer) -> None:
    running = await start(fault="hang")
    hanging = asyncio.create_task(running.chat())
    await running.until_in_flight(1)
    hanging.cancel()
    await running.until_in_flight(0)
    await running.change(fault="none")  # no request is left to be answered
    stats = await running.stats()
    assert (stats["requests"], stats["aborted"], stats["completed"]) == (1, 1, 0)


async def test_a_body_with_a_marked_text_is_refused_and_others_are_not(running: Running) -> None:
    await running.change(fail_custom=["poison", "line-7"])
    assert (await running.chat("some poison here")).status_code == 400
    refused = await running.chat(metadata={"line": "line-7"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "fail_custom")
    assert (await running.chat(metadata={"line": "line-8"})).status_code == 200


async def test_a_body_with_a_marked_text_fails(running: Running) -> None:
    await running.change(break_custom=["line-7"])
    assert (await running.chat(metadata={"line": "line-7"})).status_code == 500
    assert (await running.chat(metadata={"line": "line-8"})).status_code == 200


@pytest.mark.parametrize(
    ("options", "fault", "share"),
    [
        ({}, Fault.ERROR_500, 0.0),
        ({"error_rate": 0.25}, Fault.ERROR_500, 0.25),
        ({"error_rate": 1.0}, Fault.ERROR_500, 1.0),
        ({"fault": "hang", "fault_rate": 0.5}, Fault.HANG, 0.5),
        ({"fault": "hang", "fault_rate": 0.0}, Fault.HANG, 0.0),
        ({"fault": "hang", "fault_rate": 0.5, "error_rate": 1.0}, Fault.ERROR_500, 0.5),  # of the others
    ],
)
def test_faults_are_drawn_in_their_share(options: dict[str, object], fault: Fault, share: float) -> None:
    behaviour = Behaviour().changed(options)
    rng = random.Random(1)
    drawn = [draw_fault(behaviour, rng) for _ in range(10_000)]
    assert drawn.count(fault) / len(drawn) == pytest.approx(share, abs=0.02 if 0 < share < 1 else 0)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
