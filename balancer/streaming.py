"""Reads one streamed answer."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.providers import Adapter
from balancer.providers.openai import usage_of
from balancer.results import ChatChunk, first_choice, first_message, text_of
from balancer.sse import EventTooLarge, event_data
from balancer.transport import timeout_message

__all__ = ["StreamReading"]

END = b"[DONE]"


class StreamReading:
    """One streamed answer of one endpoint: iterate over `chunks`, then ask for the `outcome`."""

    def __init__(self, endpoint: str, adapter: Adapter, timeout: float) -> None:
        self._endpoint = endpoint
        self._adapter = adapter
        self._timeout = timeout
        self._started = time.perf_counter()
        self._latency = 0.0
        self._status: int | None = None
        self._request_id = ""
        self._usage = NO_USAGE
        self._finished = False
        self._failure: Failure | None = None

    def outcome(self) -> Outcome | None:
        """Return what came of it; None if the reader went away before the end, which says nothing about the endpoint."""
        if self._failure is None and not self._finished:
            return None
        return Outcome(
            endpoint=self._endpoint,
            latency=self._latency or time.perf_counter() - self._started,
            status=self._status,
            request_id=self._request_id,
            usage=self._usage,
            failure=self._failure,
        )

    async def chunks(self, transport: httpx.AsyncBaseTransport, request: httpx.Request) -> AsyncGenerator[ChatChunk, None]:
        """Send the request and yield the answer's chunks. Trouble ends it; `outcome` says what it was."""
        try:
            response = await transport.handle_async_request(request)
            try:
                async with aclosing(self._read(response)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            finally:
                await response.aclose()
        except httpx.TimeoutException as exc:
            self._fail(FailureKind.TIMEOUT, timeout_message(exc, self._timeout))
        except httpx.HTTPError as exc:
            self._fail(FailureKind.CONNECTION, str(exc) or type(exc).__name__)
        except EventTooLarge as exc:
            self._fail(FailureKind.INVALID_RESPONSE, str(exc))

    async def _read(self, response: httpx.Response) -> AsyncGenerator[ChatChunk, None]:
        self._status = response.status_code
        self._request_id = response.headers.get("x-request-id", "")
        if response.status_code != 200 or "event-stream" not in response.headers.get("content-type", ""):
            for chunk in self._whole(response, await response.aread()):
                yield chunk
            return
        async with aclosing(event_data(response.aiter_bytes())) as events:
            async for data in events:
                if data == END:
                    self._finished = True
                    return
                event = self._chunk(data)
                if event is None:
                    return
                self._latency = self._latency or time.perf_counter() - self._started
                yield event
        if not self._finished:
            self._fail(FailureKind.CONNECTION, "the stream broke off")

    def _whole(self, response: httpx.Response, body: bytes) -> list[ChatChunk]:
        """Take an answer that is no stream: a failure, or a whole completion, which becomes one chunk."""
        answer = self._adapter.answer(response.status_code, response.headers, body)
        self._failure, self._usage = answer.failure, answer.usage
        if answer.failure is not None:
            return []
        self._finished = True
        raw = answer.parsed if answer.parsed is not None else orjson.loads(answer.body)
        choice = first_choice(raw)
        text = text_of(first_message(raw).get("content")) or ""
        return [ChatChunk(text, self._endpoint, choice.get("finish_reason"), raw.get("model"), answer.usage, raw)]

    def _chunk(self, data: bytes) -> ChatChunk | None:
        """Read one event; None if it ends the stream in failure."""
        try:
            raw = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._fail(FailureKind.INVALID_RESPONSE, "an event of the stream is not JSON")
            return None
        if not isinstance(raw, dict):
            self._fail(FailureKind.INVALID_RESPONSE, "an event of the stream is no JSON object")
            return None
        if error := raw.get("error"):
            self._fail(FailureKind.SERVER, _message(error))
            return None
        choice = first_choice(raw)
        delta = choice.get("delta")
        usage = usage_of(raw.get("usage")) if raw.get("usage") else None
        self._usage = usage or self._usage
        self._finished = self._finished or choice.get("finish_reason") is not None
        text = text_of(delta.get("content")) or "" if isinstance(delta, dict) else ""
        return ChatChunk(text, self._endpoint, choice.get("finish_reason"), raw.get("model"), usage, raw)

    def _fail(self, kind: FailureKind, message: str) -> None:
        self._failure = Failure(kind, message, self._status)
        self._finished = False


def _message(error: Mapping[str, Any] | Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"an error in the stream: {str(message)[:300]}"
