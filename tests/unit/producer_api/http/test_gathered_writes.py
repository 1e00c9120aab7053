"""Writes of one turn of the event loop, which are sent together."""

import asyncio
from typing import Any

from producer_api.http.gathered_writes import GatheredWrites


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
    assert transport.done == []
    gathered.write(b"body")
    assert transport.done == [b"head body"]
    await asyncio.sleep(0)
    assert transport.done == [b"head body"]


async def test_a_head_whose_body_is_late_is_sent_at_the_end_of_the_turn() -> None:
    transport = FakeTransport()
    gathered = over(transport)
    gathered.write(b"head")
    await asyncio.sleep(0)
    assert transport.done == [b"head"]
    gathered.write(b"")
    gathered.write(b"body")
    await asyncio.sleep(0)
    assert transport.done == [b"head", b"body"]


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


async def test_nothing_is_sent_to_a_client_that_went_away_within_the_turn() -> None:
    transport = FakeTransport()
    over(transport).write(b"late")
    transport.close()
    await asyncio.sleep(0)
    assert transport.done == ["closed"]


async def test_the_pieces_of_a_stream_do_not_wait_for_each_other() -> None:
    transport = FakeTransport()
    gathered = over(transport)
    for number in range(5):
        gathered.write(b"%d" % number)
    assert transport.done == [b"01", b"23"]
    await asyncio.sleep(0)
    assert transport.done == [b"01", b"23", b"4"]


async def test_everything_else_is_the_transports() -> None:
    assert over(FakeTransport()).get_extra_info("peername") == "the peername"
