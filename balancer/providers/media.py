"""Reads kind, size and page count from the bytes of an image or a PDF, without a library."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from struct import unpack_from

__all__ = ["ImageHeader", "image_header", "is_pdf", "pdf_pages"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG frame header (ITU T.81, table B.1); the three left out are tables and a reserve."""
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length after them."""
_JPEG_SCAN = 0xDA
PDF_HEAD = 1024
"""Readers look for `%PDF-` in that many bytes."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """`media_type` is `image/png` or `image/jpeg`; `width` and `height` are pixels, None where the header is cut off."""

    media_type: str
    width: int | None = None
    height: int | None = None

    @property
    def long_side(self) -> int:
        """The longer side in pixels; 0 if it isn't known."""
        return max(self.width or 0, self.height or 0)


def image_header(image: bytes) -> ImageHeader | None:
    """Read what a PNG or a JPEG begins with; None for anything else."""
    if image.startswith(_PNG):
        if len(image) < 24 or image[12:16] != b"IHDR":
            return ImageHeader("image/png")
        return ImageHeader("image/png", *unpack_from(">II", image, 16))
    if image.startswith(_JPEG):
        return _jpeg_header(image)
    return None


def _jpeg_header(image: bytes) -> ImageHeader:
    """Walk the segments (marker, length, content) up to the frame header: precision (1 byte), height (2), width (2)."""
    at = 2
    while at + 9 <= len(image) and image[at] == 0xFF:
        marker = image[at + 1]
        if marker in _JPEG_SIZES:
            height, width = unpack_from(">HH", image, at + 5)
            return ImageHeader("image/jpeg", width, height)
        if marker == _JPEG_SCAN:
            break
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + unpack_from(">H", image, at + 2)[0]
    return ImageHeader("image/jpeg")


MOST_OBJECTS = 100_000
"""A document with more is not counted: each costs a microsecond or two of the event loop."""
_OBJECT = re.compile(rb"(?<!\d)(\d{1,10})[\x00\s]{1,8}\d{1,5}[\x00\s]{1,8}obj(?![A-Za-z])")
_PAGE = re.compile(rb"/Type[\x00\s]{0,8}/Page(?![^\x00\s/<>\[\](){}%])")
_PAGES = re.compile(rb"/Type[\x00\s]{0,8}/Pages(?![^\x00\s/<>\[\](){}%])")
_COUNT = re.compile(rb"/Count[\x00\s]{1,8}(\d{1,9})")
_STREAM = re.compile(rb"stream\r?\n")


def is_pdf(document: bytes) -> bool:
    """Whether a document says that it is a PDF."""
    return b"%PDF-" in document[:PDF_HEAD]


def pdf_pages(document: bytes) -> int | None:
    """Count a PDF's pages by its page objects (ISO 32000-1, 7.7.3); None if that is unknown: some may be in compressed object
    streams, or there are too many objects to look at.

    An object written again by a later revision counts once. Where the root of the page tree counts fewer (a revision has taken
    pages out), its `/Count` is right.
    """
    if b"/ObjStm" in document:
        return None
    plain = b"".join(_without_streams(document))
    heads = list(islice(_OBJECT.finditer(plain), MOST_OBJECTS + 1))
    if len(heads) > MOST_OBJECTS:
        return None
    latest = dict(_objects(plain, heads))
    pages = sum(bool(_PAGE.search(text)) for text in latest.values())
    counts = [int(count[1]) for text in latest.values() if _PAGES.search(text) and (count := _COUNT.search(text))]
    return min(pages, max(counts, default=pages))


def _without_streams(document: bytes) -> Iterator[bytes]:
    """Leave out what stands in streams, such as an attached PDF. Takes linear time, whatever the document holds."""
    at = 0
    while found := _STREAM.search(document, at):
        yield document[at : found.start()]
        end = document.find(b"endstream", found.end())
        if end < 0:
            return
        at = end + len(b"endstream")
    yield document[at:]


def _objects(document: bytes, heads: list[re.Match[bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield each indirect object's number with the text up to the next one."""
    for head, following in pairwise((*heads, None)):
        if head:
            yield int(head[1]), document[head.end() : following.start() if following else None]
