"""Small images and PDFs: as little as a reader of their headers needs."""

import struct
import zlib

__all__ = ["jpeg", "pages", "pdf", "png", "segment"]


def png(width: int, height: int) -> bytes:
    """A grey PNG without pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*before: bytes, frame: int = 0xC0, width: int = 640, height: int = 480) -> bytes:
    """A JPEG with other segments before its frame header."""
    sizes = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + b"".join(before) + segment(frame, sizes) + segment(0xDA, b"\1") + b"\xff\xd9"


def pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, numbered from 1."""
    return b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%s\nendobj\n" % (n, o) for n, o in enumerate(objects, 1)) + b"%%EOF\n"


def pages(count: int) -> list[bytes]:
    """Page objects."""
    return [b"<</Type /Page /Parent 1 0 R>>"] * count
