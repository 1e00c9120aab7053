"""An endpoint's provider batches: creates them, polls them, and reads their results as outcomes of single requests."""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from balancer.errors import ConfigurationError
from balancer.fleet.endpoint_connection import EndpointConnection
from balancer.fleet.streaming import failure_of
from balancer.http import HttpAnswer, HttpClient, HttpError, read_whole
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.providers import Call, RequestRefused
from balancer.providers.batches import (
    BatchApi,
    BatchCallFailed,
    BatchResult,
    BatchState,
    Submission,
    failed_call,
)
from balancer.usage.price_class import PriceClass
from balancer.usage.pricing import cost_of

__all__ = ["EndpointBatches"]

T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds for a call of the batch API; those that carry requests or results may take TRANSFER_TIMEOUT."""
TRANSFER_TIMEOUT = 600.0
SMALL = 1024 * 1024
"""Bytes up to which a body counts as none."""
LARGEST_ERROR = 1024 * 1024


class EndpointBatches:
    """The batches of one endpoint. Every call of the provider raises BatchCallFailed."""

    def __init__(self, connection: EndpointConnection, api: BatchApi, client: HttpClient) -> None:
        self.api = api
        self._connection = connection
        self._http = _Http(connection, client)

    def translate(self, path: str, body: Mapping[str, Any]) -> Call:
        """Return a request as it stands in a batch. Raises RequestRefused for what the endpoint can't do."""
        connection = self._connection
        if path not in connection.adapter.paths:
            raise RequestRefused("url", f"{connection.endpoint.name} does not answer requests to {path}")
        plain = {name: value for name, value in body.items() if name not in ("stream", "stream_options", "service_tier")}
        return connection.adapter.call(connection.endpoint, path, plain)

    async def upload(self, token: str, content: bytes) -> str:
        """Upload the requests, and return the file's id, "" where the provider has no files."""
        return await _read(self.api.upload(self._http, token, content))

    async def create(self, submission: Submission, content: bytes, file: str) -> str:
        """Create a batch, and return its id."""
        return await _read(self.api.create(self._http, submission, content, file))

    async def find(self, submission: Submission, known: Sequence[str]) -> str | None:
        """Return the id of the batch that was made of a submission, if there is one; it is none of `known`."""
        return await _read(self.api.find(self._http, submission, known))

    async def state(self, batch: str) -> BatchState:
        """Ask how far a batch is."""
        return await _read(self.api.state(self._http, batch))

    async def cancel(self, batch: str) -> None:
        """Have a batch end soon."""
        await _read(self.api.cancel(self._http, batch))

    async def delete(self, state: BatchState, file: str) -> None:
        """Delete what the provider keeps of a batch whose results have been read."""
        await _read(self.api.delete(self._http, state, file))

    async def results(self, state: BatchState) -> AsyncIterator[BatchResult]:
        """Yield the results of a batch that has ended."""
        try:
            async with aclosing(self.api.results(self._http, state)) as results:  # type: ignore[type-var]
                async for result in results:
                    yield result
        except _MALFORMED as exc:
            raise _malformed(exc) from exc

    def outcome(self, call: Call, result: BatchResult, seconds: float) -> Outcome:
        """Read one result as the outcome of its request, at the price of batches; it was there after so many seconds."""
        endpoint = self._connection.endpoint
        answer = self._connection.adapter.answer(call, result.status or 500, {}, result.body)
        cost = cost_of(answer.usage, endpoint, call.model, PriceClass.BATCH)
        return Outcome(
            endpoint=endpoint.name,
            latency=seconds,
            status=result.status,
            body=answer.body,
            usage=answer.usage,
            failure=answer.failure,
            parsed=answer.parsed,
            model=call.model,
            cost=cost,
            tier=PriceClass.BATCH,
        )


_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading an answer raises that is not in the provider's format."""


def _malformed(error: Exception) -> BatchCallFailed:
    what = f"an answer of the batch API can't be read: {type(error).__name__} {error}"
    return BatchCallFailed(Failure(FailureKind.INVALID_RESPONSE, what), answered=False)


async def _read(reading: Awaitable[T]) -> T:
    try:
        return await reading
    except _MALFORMED as exc:
        raise _malformed(exc) from exc


class _Http:
    """Requests to one endpoint's batch API."""

    def __init__(self, connection: EndpointConnection, client: HttpClient) -> None:
        self._connection = connection
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        send_by: float = math.inf,
    ) -> HttpAnswer:
        def check_time() -> None:
            if time.monotonic() > send_by:
                raise BatchCallFailed(Failure(FailureKind.CONNECTION, "it is too late to send this request"), answered=True)

        timeout = TRANSFER_TIMEOUT if len(body) > SMALL else TIMEOUT
        try:
            request = self._connection.batch_request(method, path, content_type)
            answer = await self._client.send(request, body, timeout, before_sending=check_time)
        except (HttpError, ConfigurationError) as exc:
            raise BatchCallFailed(failure_of(exc), answered=False) from exc
        if not 200 <= answer.status < 300:
            raise failed_call(f"{method} {path.partition('?')[0]}", answer)
        return answer

    async def download(self, path: str) -> AsyncIterator[bytes]:
        try:
            request = self._connection.batch_request("GET", path, "application/json")
            async with self._client.stream(request, b"", TRANSFER_TIMEOUT) as stream:
                if not 200 <= stream.status < 300:
                    raise failed_call(
                        f"GET {path}", HttpAnswer(stream.status, stream.headers, await read_whole(stream, LARGEST_ERROR))
                    )
                async for piece in stream:
                    yield piece
        except (HttpError, ConfigurationError) as exc:
            raise BatchCallFailed(failure_of(exc), answered=False) from exc
