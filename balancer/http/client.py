"""The interface of HTTP clients, and what they send and return."""

import base64
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple

import httpx

from balancer.http.errors import AnswerTooLarge, ProtocolError
from balancer.runtime.record import record

__all__ = [
    "MAX_ANSWER_BYTES",
    "REQUEST_TIMEOUT",
    "Headers",
    "HttpAnswer",
    "HttpClient",
    "HttpStream",
    "Origin",
    "PreparedRequest",
    "read_whole",
]

REQUEST_TIMEOUT = 600.0
"""Seconds that a whole request may take where the configuration says nothing: long answers are not cut off."""
MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Bytes of one answer, unpacked, where the configuration says nothing."""
_BREAKS = ("\r", "\n", "\0")


class Origin(NamedTuple):
    """Where connections go (RFC 9110, 4.3.1): `scheme` is `http` or `https`."""

    scheme: str
    host: str
    port: int


class PreparedRequest:
    """All of a request but its body, put in bytes once for any number of requests to the same address.

    Requests with the same `group` are aborted together (see `HttpClient.abort`). Raises ProtocolError for headers that would
    break the request, and for addresses other than http and https.
    """

    __slots__ = ("group", "head", "headers", "host", "method", "origin", "target", "url")

    def __init__(self, method: str, url: str | httpx.URL, headers: Mapping[str, str], group: str = "") -> None:
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host:
            raise ProtocolError("the address is neither http:// nor https://")
        self.method = method
        self.url = address
        self.group = group
        self.headers = {"user-agent": "roadbalancer", "accept": "*/*", "accept-encoding": "gzip, deflate"}
        self.headers |= {name.lower(): value for name, value in headers.items()}
        if address.username and "authorization" not in self.headers:
            user = f"{address.username}:{address.password}".encode()
            self.headers["authorization"] = f"Basic {base64.b64encode(user).decode()}"
        host = address.raw_host.decode("ascii")
        self.origin = Origin(address.scheme, host, address.port or (443 if address.scheme == "https" else 80))
        self.host = address.netloc.decode("ascii")
        self.target = address.raw_path.decode("ascii")
        self.head = self.head_for(self.target)

    def with_headers(self, headers: Mapping[str, str]) -> "PreparedRequest":
        """Return the same request with further headers. Raises ProtocolError."""
        return PreparedRequest(self.method, self.url, {**self.headers, **headers}, self.group)

    def head_for(self, target: str, extra: Mapping[str, str] | None = None) -> bytes:
        """Return the request line and the headers (RFC 9112, 3), up to the number of bytes in the body if it has one."""
        lines = [f"{self.method} {target} HTTP/1.1", f"host: {self.host}"]
        for name, value in {**self.headers, **(extra or {})}.items():
            if any(one in name or one in value for one in _BREAKS):
                raise ProtocolError(f"the header {name!r} holds a line break")
            lines.append(f"{name}: {value}")
        lines.append("\r\n" if self.method == "GET" else "content-length: ")
        return "\r\n".join(lines).encode("utf-8")

    def message(self, body: bytes, head: bytes | None = None) -> bytes:
        """Return the whole request as it goes over the wire."""
        head = head or self.head
        return head if self.method == "GET" else b"%b%d\r\n\r\n%b" % (head, len(body), body)


class Headers(Mapping[str, str]):
    """The headers of an answer, found by their names in lower case."""

    __slots__ = ("_values",)

    def __init__(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """The first of several headers with the same name is taken."""
        self._values = {name.lower(): value for name, value in reversed(items)}

    def __getitem__(self, name: str) -> str:
        return self._values[name.encode("latin-1")].decode("utf-8", "replace")

    def get(self, name: str, default: Any = None) -> Any:
        value = self._values.get(name.encode("latin-1"))
        return default if value is None else value.decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._values)

    def __len__(self) -> int:
        return len(self._values)


@record(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer; `body` is unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpStream(ABC, AsyncIterator[bytes]):
    """An answer whose body is read as it comes: iterate over it. Raises HttpError."""

    status: int
    headers: Mapping[str, str]


class HttpClient(ABC):
    """Sends requests. Cancelling the task that waits aborts its request: the connection is closed at once."""

    @abstractmethod
    async def send(
        self,
        request: PreparedRequest,
        body: bytes,
        timeout: float,
        in_gulps: bool = False,
        before_sending: Callable[[], None] = lambda: None,
    ) -> HttpAnswer:
        """Return the whole answer, which has to be there within `timeout` seconds. Raises HttpError.

        `in_gulps` says that it comes in many small pieces, which may be read together. `before_sending` is called when there is a
        connection, right before the request goes out; what it raises is raised, and nothing is sent.
        """

    @abstractmethod
    def stream(self, request: PreparedRequest, body: bytes, timeout: float) -> AbstractAsyncContextManager[HttpStream]:
        """Open an answer once its headers are there; leaving it early aborts the request. Raises HttpError."""

    @abstractmethod
    def abort(self, group: str, why: str) -> int:
        """Abort all requests of a group: each raises RequestAborted. Returns how many."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections."""


async def read_whole(stream: HttpStream, limit: int) -> bytes:
    """Read what is left of a stream. Raises AnswerTooLarge beyond `limit` bytes, and HttpError."""
    pieces: list[bytes] = []
    size = 0
    async for piece in stream:
        size += len(piece)
        if size > limit:
            raise AnswerTooLarge(limit)
        pieces.append(piece)
    return b"".join(pieces)
