"""Unpacks compressed bodies (RFC 9110, 8.4.1), a bounded piece at a time."""

import zlib
from collections.abc import Iterator

from balancer.http.errors import ProtocolError

__all__ = ["Unpacker", "unpacker_for"]

PIECE = 256 * 1024
"""Most bytes that are unpacked at once: a few packed ones may hold a thousand times as many."""
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32


class Unpacker:
    """Unpacks gzip and deflate."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._begun = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """Yield what the next packed bytes hold. Raises ProtocolError."""
        while packed:
            if self._unpack.eof:
                self._unpack = zlib.decompressobj(_ZLIB_OR_GZIP)  # gzip: one member may follow another
            try:
                piece = self._unpack.decompress(packed, PIECE)
            except zlib.error as exc:
                if self._begun:
                    raise ProtocolError(f"a compressed answer that can't be unpacked ({exc})") from None
                # Some servers say deflate and mean it without zlib's frame.
                self._unpack, self._begun = zlib.decompressobj(-zlib.MAX_WBITS), True
                continue
            self._begun = True
            packed = self._unpack.unconsumed_tail or self._unpack.unused_data
            if piece:
                yield piece

    @property
    def is_complete(self) -> bool:
        """Whether the packed bytes so far come to an end, or there were none."""
        return self._unpack.eof or not self._begun


def unpacker_for(encoding: str) -> Unpacker | None:
    """Return what unpacks a body with this `content-encoding`; None where nothing has to be done. Raises ProtocolError."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip", "deflate"):
        return Unpacker()
    raise ProtocolError(f"an answer packed as {name[:40]!r}, which was not asked for")
