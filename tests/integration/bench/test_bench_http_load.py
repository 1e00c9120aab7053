"""The load on a gateway: how much is sent, and that a wrong answer gives no figure."""

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api_roadbalancer.mock import Behaviour, MockServer, serve
from bench.http_load import KEY_VARIABLE, WrongAnswer, alternate, together
from bench.processes import start_process, until


@pytest.fixture
async def server() -> AsyncIterator[MockServer]:
    server = await serve(Behaviour(track_keys=False))
    yield server
    await server.close()


async def requests_at(server: MockServer) -> int:
    async with httpx.AsyncClient(base_url=server.url.removesuffix("/v1"), trust_env=False) as client:
        return int((await client.get("/mock/stats")).json()["requests"])


async def test_the_requests_that_count_come_after_one_on_each_connection(server: MockServer) -> None:
    found = await together(server.url, in_flight=4, requests=30, seconds=30.0, pid=os.getpid())
    assert found["requests"] == 30
    assert found["rate"] > 0
    assert found["cpu"] >= 0
    assert await requests_at(server) == 34


async def test_nothing_more_is_sent_when_the_time_is_over() -> None:
    server = await serve(Behaviour(track_keys=False, latency=0.05))
    try:
        found = await together(server.url, in_flight=2, requests=10_000, seconds=0.15, pid=os.getpid())
    finally:
        await server.close()
    assert 2 <= found["requests"] <= 8


@pytest.mark.parametrize("stream", [False, True])
async def test_two_servers_are_asked_in_turn_and_the_slower_one_is_found(server: MockServer, stream: bool) -> None:
    slow = await serve(Behaviour(track_keys=False, latency=0.03))
    try:
        found = await alternate((server.url, slow.url), requests=10, stream=stream)
        assert [await requests_at(each) for each in (server, slow)] == [11, 11]
    finally:
        await slow.close()
    assert found["through"] >= 0.029
    assert found["direct"] < found["through"]


async def test_of_a_stream_the_first_chunk_is_timed() -> None:
    server = await serve(Behaviour(track_keys=False, latency_per_token=0.1))
    try:
        found = await alternate((server.url, server.url), requests=1, stream=True)
    finally:
        await server.close()
    # The second chunk comes 0.1 s later, the end later still.
    assert found["direct"] < 0.1


@pytest.mark.parametrize("behaviour", [Behaviour(error_rate=1.0), Behaviour(fault="html"), Behaviour(fault="429")])
async def test_a_refusal_gives_no_figure(behaviour: Behaviour) -> None:
    server = await serve(behaviour)
    try:
        with pytest.raises(WrongAnswer, match=r"HTTP (500|502|429): "):
            await together(server.url, in_flight=1, requests=5, seconds=30.0, pid=os.getpid())
        with pytest.raises(WrongAnswer, match=r"HTTP (500|502|429): "):
            await alternate((server.url, server.url), requests=1, stream=True)
    finally:
        await server.close()


async def test_as_a_program_it_prints_json(server: MockServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.http_load", "alternate", server.url, server.url, "--requests", "3"]
    process = start_process("load", command, tmp_path, 0.0, {KEY_VARIABLE: "sk-secret-4711"})
    try:
        await process.finished(30.0)
    finally:
        process.end()
    assert set(json.loads(process.log_text())) == {"direct", "through"}


async def test_as_a_program_it_fails_with_the_reason_on_the_last_line_without_the_key(tmp_path: Path) -> None:
    server = await serve(Behaviour(error_rate=1.0))
    command = [sys.executable, "-m", "bench.http_load", "alternate", server.url, server.url, "--requests", "3"]
    process = start_process("load", command, tmp_path, 0.0, {KEY_VARIABLE: "sk-secret-4711"})
    try:
        await until(lambda: not process.is_running, 30.0, "the end of the load")
    finally:
        process.end()
        await server.close()
    assert "exit code 1: WrongAnswer: HTTP 500" in str(process.failure())
    assert "sk-secret-4711" not in process.log_text()
