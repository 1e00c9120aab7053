"""Against real vLLM servers: `make test-vllm VLLM_URLS=http://host:8000/v1,http://other:8000/v1`. Any models will do."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from balancer import AsyncLoadBalancer, BalancingStrategy, Endpoint, LoadBalancer
from tests.vllm.servers import URLS
from tests.waiting import until

HELLO = [{"role": "user", "content": "Hello! Who are you?"}]


def endpoints() -> list[Endpoint]:
    return [Endpoint(url=url, name=f"vllm-{n}", provider="vllm", max_tokens=32) for n, url in enumerate(URLS)]


def test_a_chat_has_text_usage_and_the_servers_model() -> None:
    with LoadBalancer(endpoints()) as balancer:
        result = balancer.chat(messages=HELLO, temperature=0.0, seed=1)
    assert result.success, result.error
    assert result.content
    assert result.model
    assert result.usage is not None and result.usage.prompt > 0 and 0 < result.usage.completion <= 32


def test_a_stream_comes_in_chunks_that_end_with_a_reason() -> None:
    with LoadBalancer(endpoints()) as balancer:
        chunks = list(balancer.chat(messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 2
    assert "".join(chunk.content for chunk in chunks)
    assert any(chunk.finish_reason in ("stop", "length") for chunk in chunks)
    assert chunks[-1].usage is not None and chunks[-1].usage.completion > 0


def test_a_prompt_that_is_too_long_is_the_requests_fault_and_is_not_tried_again() -> None:
    with LoadBalancer(endpoints()) as balancer:
        result = balancer.chat(messages=[{"role": "user", "content": "word " * 300_000}])
        again = balancer.chat(messages=HELLO)
    assert not result.success
    assert len(result.attempts) == 1
    assert result.failure is not None and result.failure.status == 400
    assert again.success, "a refused prompt took the endpoint out"


def test_many_threads_worth_of_chats_all_succeed() -> None:
    async def many() -> list[bool]:
        async with AsyncLoadBalancer(endpoints(), BalancingStrategy.LEAST_CONNECTIONS) as balancer:
            results = await asyncio.gather(*(balancer.chat(HELLO, max_tokens=8) for _ in range(64)))
            return [result.success for result in results]

    assert all(asyncio.run(many()))


async def test_one_of_two_servers_goes_away_and_comes_back() -> None:
    async with Door(URLS[0]).open() as door:
        fleet = [Endpoint(url=door.url, name="mortal"), Endpoint(url=URLS[-1], name="steady")]
        async with AsyncLoadBalancer(fleet, BalancingStrategy.ROUND_ROBIN, health_check_interval=0.5) as balancer:
            assert {(await balancer.chat(HELLO, max_tokens=4)).endpoint for _ in range(6)} == {"mortal", "steady"}
            await door.shut()
            results = [await balancer.chat(HELLO, max_tokens=4) for _ in range(8)]
            assert all(result.success for result in results)
            assert {result.endpoint for result in results} == {"steady"}
            await door.reopen()
            async with asyncio.timeout(20):
                while (await balancer.chat(HELLO, max_tokens=4)).endpoint != "mortal":
                    continue


@dataclass
class Door:
    """A way to a server that can be shut, as if the server had died: connections break, new ones are refused."""

    target: str
    port: int = 0
    server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self.connections: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{urlsplit(self.target).path}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Door"]:
        await self.reopen()
        yield self
        await self.shut()

    async def reopen(self) -> None:
        self.server = await asyncio.start_server(self._pass_through, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        assert self.server
        self.server.close()
        for writer in self.connections:
            writer.transport.abort()

    async def _pass_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        self.connections |= {writer, back}
        with suppress(ConnectionError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
    target.close()


def test_there_are_servers_to_test_against() -> None:
    assert URLS, "name them: make test-vllm VLLM_URLS=http://host:8000/v1,http://other:8000/v1"


pytestmark = pytest.mark.timeout(300)


async def test_chats_that_are_cancelled_are_gone_from_the_server_within_a_second() -> None:
    async with AsyncLoadBalancer([Endpoint(url=URLS[0], name="vllm", provider="vllm")]) as balancer:
        long = {"max_tokens": 1500, "ignore_eos": True}
        chats = [asyncio.create_task(balancer.chat(HELLO, **long)) for _ in range(4)]  # type: ignore[arg-type]
        await until(lambda: running() == 4, what="the chats to run")
        for chat in chats:
            chat.cancel()
        await asyncio.wait(chats)
        await until(lambda: running() == 0, 1.0, what="the server to be idle")


def running() -> float:
    metrics = httpx.get(URLS[0].removesuffix("/v1") + "/metrics").text
    return sum(float(found) for found in re.findall(r"^vllm:num_requests_running\S* (\S+)", metrics, re.MULTILINE))
