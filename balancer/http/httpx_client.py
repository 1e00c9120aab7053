"""Stands an httpx transport in the place of the project's own HTTP client: for tests, and for callers who bring one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx

from balancer.http.client import MAX_ANSWER_BYTES, HttpAnswer, HttpClient, HttpStream, PreparedRequest, read_whole
from balancer.http.errors import ConnectFailed, ConnectionBroken, ConnectTimeout, ProtocolError, RequestAborted, RequestTimeout

__all__ = ["HttpxClient"]

T = TypeVar("T")


class HttpxClient(HttpClient):
    """Sends requests over an httpx transport. The `read` timeout that it is given bounds the whole request."""

    def __init__(self, transport: httpx.AsyncBaseTransport, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._transport = transport
        self._max_answer_bytes = max_answer_bytes
        self._in_flight: dict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._aborted: dict[asyncio.Task[Any], str] = {}

    async def send(
        self,
        request: PreparedRequest,
        body: bytes,
        timeout: float,
        in_gulps: bool = False,
        before_sending: Callable[[], None] = lambda: None,
    ) -> HttpAnswer:
        before_sending()
        async with self.stream(request, body, timeout) as stream:
            return HttpAnswer(stream.status, stream.headers, await read_whole(stream, self._max_answer_bytes))

    @asynccontextmanager
    async def stream(self, request: PreparedRequest, body: bytes, timeout: float) -> AsyncGenerator[HttpStream, None]:
        extensions = {"timeout": {"connect": timeout, "read": timeout, "write": timeout, "pool": timeout}}
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=body, extensions=extensions)
        response = await self._step(request.group, timeout, self._transport.handle_async_request(sent))
        try:
            yield _Stream(self, request.group, timeout, response)
        finally:
            await response.aclose()

    async def _step(self, group: str, timeout: float, work: Coroutine[Any, Any, T]) -> T:
        """Run one step of a request as a task, which `abort` can end."""
        task = asyncio.create_task(work)
        self._in_flight[group].add(task)
        try:
            with _translated(timeout):
                return await task
        except asyncio.CancelledError:
            why = self._aborted.pop(task, None)
            if why is not None:
                raise RequestAborted(why) from None
            task.cancel()
            raise
        finally:
            self._in_flight[group].discard(task)

    def abort(self, group: str, why: str) -> int:
        tasks = list(self._in_flight[group])
        for task in tasks:
            self._aborted[task] = why
            task.cancel()
        return len(tasks)

    async def aclose(self) -> None:
        await self._transport.aclose()


class _Stream(HttpStream):
    def __init__(self, client: HttpxClient, group: str, timeout: float, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._pieces: AsyncIterator[bytes] = response.aiter_bytes()
        self._client, self._group, self._timeout = client, group, timeout

    async def __anext__(self) -> bytes:
        piece = await self._client._step(self._group, self._timeout, _next(self._pieces))
        if piece is None:
            raise StopAsyncIteration
        return piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


@contextmanager
def _translated(timeout: float) -> Iterator[None]:
    """Raise the client's own errors in place of httpx's."""
    try:
        yield
    except httpx.ConnectTimeout as exc:
        raise ConnectTimeout from exc
    except httpx.TimeoutException as exc:
        raise RequestTimeout(timeout) from exc
    except httpx.ConnectError as exc:
        raise ConnectFailed(_message(exc)) from exc
    except (httpx.ProtocolError, httpx.DecodingError) as exc:
        raise ProtocolError(_message(exc)) from exc
    except (httpx.HTTPError, httpx.StreamError) as exc:
        raise ConnectionBroken(_message(exc)) from exc


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__
