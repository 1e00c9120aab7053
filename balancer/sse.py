"""Server-sent events, as far as model servers use them (WHATWG HTML, 9.2.6): the data of each event."""

from collections.abc import AsyncIterator

__all__ = ["MAX_EVENT_BYTES", "EventTooLarge", "event_data"]

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event that is larger is refused: it would be held in memory whole."""


class EventTooLarge(ValueError):
    """A server sent an event without end."""


async def event_data(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the `data` of each event; comments, names and ids are passed over. Raises EventTooLarge."""
    rest = b""
    data: list[bytes] = []
    async for chunk in chunks:
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data)
                data = []
    if data:
        yield b"\n".join(data)
