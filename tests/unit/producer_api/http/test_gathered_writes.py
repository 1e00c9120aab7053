"""Writes of one turn of the event loop, which are sent together."""

import asyncio
from typing import Any

from producer_api.http.gathered_writes import MOST_HELD, GatheredWrites


class FakeTransport:
    """Notes what is done with it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def over(transport: FakeTransport) -> GatheredWrites:
    return GatheredWrites(transport, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_a_head_and_its_body_are_sent_together() -> None:
    transport = FakeTransport()
    gathered = over(transport)
    gathered.write(b"head ")
    gathered.write(b"body")
    assert transport.done == []
    await asyncio.sleep(0)
    assert transport.done == [b"head body"]
    gathered.write(b"next")
    await asyncio.sleep(0)
    assert transport.done == [b"head body", b"next"]


async def test_what_was_written_is_sent_before_the_connection_is_closed() -> None:
    transport = FakeTransport()
    gathered = over(transport)
    gathered.write(b"last")
    assert not gathered.is_closing()
    gathered.close()
    assert transport.done == [b"last", "closed"]
    assert gathered.is_closing()
    await asyncio.sleep(0)
    assert transport.done == [b"last", "closed"]


async def test_much_is_not_held() -> None:
    transport = FakeTransport()
    gathered = over(transport)
    piece = bytes(MOST_HELD // 2)
    for _ in range(5):
        gathered.write(piece)
    assert [len(data) for data in transport.done] == [3 * len(piece)], "a writer that goes on is paused by the transport"
    await asyncio.sleep(0)
    assert sum(len(data) for data in transport.done) == 5 * len(piece)


async def test_everything_else_is_the_transports() -> None:
    assert over(FakeTransport()).get_extra_info("peername") == "the peername"
