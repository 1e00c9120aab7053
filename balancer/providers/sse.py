"""Server-sent events, as far as model servers use them (WHATWG HTML, 9.2.6): the data of each event."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator

__all__ = ["MAX_EVENT_BYTES", "EventTooLarge", "event_data", "events_in"]

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event that is larger is refused: it would be held in memory whole."""


class EventTooLarge(ValueError):
    """A server sent an event without end."""


async def event_data(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the `data` of each event; comments, names and ids are passed over. Raises EventTooLarge."""
    rest: list[bytes] = []
    data: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if b"\n" in chunk:
            *lines, begun = b"".join([*rest, chunk]).split(b"\n")
            rest = [begun]
            for line in lines:
                line = line.removesuffix(b"\r")
                if line.startswith(b"data:"):
                    data.append(line[5:].removeprefix(b" "))
                elif not line:
                    if data:
                        yield b"\n".join(data)
                    data = []
            size = len(begun) + sum(map(len, data))
        else:
            rest.append(chunk)
        if size > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event is larger than {MAX_EVENT_BYTES} bytes")
    if data:
        yield b"\n".join(data)


def events_in(body: bytes) -> Iterator[bytes]:
    """Yield the `data` of each event of a stream that has come whole."""
    data: list[bytes] = []
    for line in body.split(b"\n"):
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []
    if data:
        yield b"\n".join(data)
