"""Parses a multipart/form-data body as a stream.

Nothing is spooled: memory is a chunk or two, whatever the size of the file.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from producer_api.http.errors import ApiError, Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["UploadForm"]

FILE_PART = b"file"
MAX_FIELDS = 32
MAX_FIELD_BYTES = 4096
MAX_FILENAME = 255
"""Characters of a file's label."""
GATHER = 512 * 1024
"""Bytes of the file that are handed on at a time."""


class UploadForm:
    """One upload: `find_file`, then `content` to its end; after that `fields` has all fields, wherever they stood.

    Raises ApiError for a body that is none, that holds too much, or whose file is larger than `max_file_bytes`.
    """

    def __init__(self, content_type: str, body: AsyncIterator[bytes], max_file_bytes: int) -> None:
        self._body = body
        self._parts = _Parts(max_file_bytes)
        self._parser = MultipartParser(_boundary(content_type), self._parts.callbacks())

    @property
    def fields(self) -> dict[str, str]:
        """The fields that have been read so far."""
        return self._parts.fields

    @property
    def filename(self) -> str:
        """The label that came with the file: no path, no control characters."""
        return self._parts.filename or "upload"

    async def find_file(self) -> bool:
        """Read up to the beginning of the file, and say whether there is one."""
        while self._parts.filename is None:
            if not await self._read():
                return False
        return True

    async def content(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes, and read the body to its end."""
        while await self._read():
            if self._parts.held >= GATHER:
                yield self._parts.take()
        if self._parts.held:
            yield self._parts.take()

    async def _read(self) -> bool:
        """Read some more of the body, and say whether there was any."""
        async for chunk in self._body:
            try:
                self._parser.write(chunk)
            except FormParserError as exc:
                raise _malformed("the body is not valid multipart/form-data") from exc
            return True
        if not self._parts.complete:
            raise _malformed("the body ends before its last boundary")
        return False


class _Parts:
    """Takes what the parser finds."""

    def __init__(self, max_file_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.complete = False
        self.held = 0
        self._chunks: list[bytes] = []
        self._max_file_bytes = max_file_bytes
        self._file_bytes = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name: str | None = None
        self._value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._part_data,
            "on_part_end": self._part_ends,
            "on_end": self._body_ends,
        }

    def take(self) -> bytes:
        """Return the bytes of the file that are held, and forget them."""
        content = b"".join(self._chunks)
        self._chunks.clear()
        self.held = 0
        return content

    def _part_begins(self) -> None:
        self._disposition = b""
        self._header = (bytearray(), bytearray())
        self._value.clear()

    def _header_ends(self) -> None:
        field, value = self._header
        if field.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise _malformed("a part has no name")
        self._name = None if name == FILE_PART else name.decode("utf-8", "replace")
        if self._name is None:
            if self.filename is not None:
                raise _malformed("there are two parts named `file`; send one file at a time", "file")
            self.filename = _label(options.get(b"filename", b""))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        chunk = data[start:end]
        if self._name is not None:
            self._value += chunk
            if len(self._value) > MAX_FIELD_BYTES:
                raise _malformed(f"a field is longer than {MAX_FIELD_BYTES} bytes", self._name[:64])
            return
        self._chunks.append(chunk)
        self.held += len(chunk)
        self._file_bytes += len(chunk)
        if self._file_bytes > self._max_file_bytes:
            message = f"the file is larger than {self._max_file_bytes} bytes; split it"
            raise ApiError(Problem(413, message, param="file", code="file_too_large"))

    def _part_ends(self) -> None:
        if self._name is not None:
            self.fields[self._name] = self._value.decode("utf-8", "replace")
            if len(self.fields) > MAX_FIELDS:
                raise _malformed(f"there are more than {MAX_FIELDS} fields")

    def _body_ends(self) -> None:
        self.complete = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
        raise _malformed("send multipart/form-data with a boundary, as OpenAI's clients do")
    return boundary


def _label(filename: bytes) -> str:
    """Make a label of what a client calls its file; it never becomes a path."""
    name = filename.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:MAX_FILENAME]


def _malformed(message: str, param: str | None = None) -> ApiError:
    return ApiError(Problem(400, message, param=param, code="invalid_multipart"))
