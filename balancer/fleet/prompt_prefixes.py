"""Computes the prompt prefix that decides which endpoint a chat prefers."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

__all__ = ["PromptPrefixes"]

LEAST_BYTES = 256
"""Bytes below which a prefix is ignored: servers cache blocks of 16 to 128 tokens."""
MOST_BYTES = 16_384
"""Bytes of a message that are hashed."""
REMEMBERED = 1024
"""Number of latest requests that are counted."""
FEW = 32
"""Requests up to which a prefix is never common."""


class PromptPrefixes:
    """Hashes the prefix of a chat: its tools and leading system messages or, if these are common, the first user message as well.

    A prefix is common if more than 1/n of the latest requests have it, n being the number of endpoints: it is then cached at all
    of them, and the first user message tells conversations apart. Later messages don't change the prefix.
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
        checksum, size = _update(0, 0, orjson.dumps(tools)) if tools else (0, 0)
        leading = 0
        for message in messages:
            if message.get("role") not in ("system", "developer"):
                break
            checksum, size = _update(checksum, size, _content(message))
            leading += 1
        if size >= LEAST_BYTES and not self._count_is_common(checksum, endpoints):
            return checksum
        if leading < len(messages):
            checksum, size = _update(checksum, size, _content(messages[leading]))
        return checksum if size >= LEAST_BYTES else None

    def _count_is_common(self, prefix: int, endpoints: int) -> bool:
        """Count a request with this prefix; return whether more than 1/`endpoints` of the latest requests have it."""
        if len(self._latest) == REMEMBERED:
            oldest = self._latest.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]
        self._latest.append(prefix)
        self._counts[prefix] += 1
        return self._counts[prefix] > max(FEW, len(self._latest) / endpoints)


def _update(checksum: int, size: int, content: bytes) -> tuple[int, int]:
    return crc32(content, checksum), size + len(content)


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
