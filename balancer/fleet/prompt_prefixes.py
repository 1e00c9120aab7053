"""The prefix by which a chat is kept at an endpoint: long enough to tell it from most others, short enough to be shared."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

__all__ = ["PromptPrefixes"]

LEAST_BYTES = 256
"""Bytes of a prompt below which its cache is worth nothing: servers share blocks of 16 to 128 tokens."""
MOST_BYTES = 16_384
"""Bytes of a message that are hashed."""
REMEMBERED = 1024
"""The latest requests, among which a prefix is looked for."""
FEW = 32
"""Requests with a prefix that one endpoint takes in any case."""


class PromptPrefixes:
    """Chooses between what a chat is told first (tools and system messages) and that with the first message of its user.

    One that more than an endpoint's share of the latest requests begin with is in every cache by then, so the longer one decides;
    it stays the same while a conversation goes on.
    """

    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._counts: Counter[int] = Counter()

    def of(self, body: Mapping[str, Any], endpoints: int) -> int | None:
        """Return the hash of a request's prefix for a number of endpoints; None where it is too short to matter."""
        given = body.get("messages")
        if endpoints < 2 or not isinstance(given, Sequence):
            return None
        messages = [message for message in given if isinstance(message, Mapping)]
        tools = body.get("tools")
        told, size = _add(0, 0, orjson.dumps(tools)) if tools else (0, 0)
        place = 0
        for message in messages:
            if message.get("role") not in ("system", "developer"):
                break
            told, size = _add(told, size, _content(message))
            place += 1
        if size >= LEAST_BYTES and not self._is_everywhere(told, endpoints):
            return told
        if place < len(messages):
            told, size = _add(told, size, _content(messages[place]))
        return told if size >= LEAST_BYTES else None

    def _is_everywhere(self, prefix: int, endpoints: int) -> bool:
        """Remember that a request begins with a prefix; say whether more than an endpoint's share of the latest ones did."""
        if len(self._latest) == REMEMBERED:
            oldest = self._latest.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._latest.append(prefix)
        self._counts[prefix] += 1
        return self._counts[prefix] > max(FEW, len(self._latest) / endpoints)


def _add(check: int, size: int, content: bytes) -> tuple[int, int]:
    return crc32(content, check), size + len(content)


def _content(message: Mapping[str, Any]) -> bytes:
    content = message.get("content")
    if isinstance(content, str):
        return content[:MOST_BYTES].encode(errors="surrogatepass")
    if not isinstance(content, Sequence):
        return b""
    return b"".join(text[:MOST_BYTES].encode(errors="surrogatepass") for part in content for text in _texts(part))


def _texts(part: Any) -> list[str]:
    """Return what identifies a part of a message: its text, or the address or content of its file."""
    found = part.values() if isinstance(part, Mapping) else ()
    inner = [value for each in found if isinstance(each, Mapping) for value in each.values()]
    return [value for value in (*found, *inner) if isinstance(value, str)]
