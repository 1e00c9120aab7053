"""The interface to a provider's batches: many requests that are handed in at once, processed within a day, at half the price."""

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn, Protocol

import orjson

from balancer.errors import BalancerError
from balancer.http import HttpAnswer
from balancer.outcome import Failure, FailureKind
from balancer.providers.base import Call
from balancer.providers.failures import error_of, failure_kind, retry_after_seconds
from balancer.runtime.record import record

__all__ = [
    "BY_PLACE",
    "BatchApi",
    "BatchCallFailed",
    "BatchHttp",
    "BatchRequest",
    "BatchResult",
    "BatchState",
    "Submission",
    "failed_call",
    "named_fields",
    "raise_not_found",
    "read_json_lines",
]

BY_PLACE = "#"
"""Begins the id of a result that does not name its request: the request's place in the batch follows, from 0."""
UNCERTAIN = {408, 409, 499}
"""Statuses of the class 4xx after which the server may have done what was asked: it took too long, or met itself."""
LONGEST_RESULT = 64 * 1024 * 1024
"""Bytes of one line of a file of results."""


class BatchCallFailed(BalancerError):
    """A request to a provider's batch API failed. `answered`: the provider refused it, so that nothing was made."""

    def __init__(self, failure: Failure, answered: bool) -> None:
        self.failure = failure
        self.answered = answered
        super().__init__(failure.message)


class BatchHttp(Protocol):
    """Requests below an endpoint's address, with its key. Both raise BatchCallFailed."""

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: str = "application/json",
        send_by: float = math.inf,
    ) -> HttpAnswer:
        """Return the answer, if its status is 2xx. Nothing is sent after `send_by` (monotonic seconds)."""

    def download(self, path: str) -> AsyncIterator[bytes]:
        """Yield the body of an answer to GET in pieces of any size."""


@record(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch: its id, which begins with the batch's token, and what is sent for it alone."""

    id: str
    call: Call


@record(frozen=True, slots=True)
class Submission:
    """A batch to be handed in: all of its requests are for one model and one kind of request (OpenAI's `path`). By `token` it is
    found again; `since` is when it was begun (seconds since the epoch). It is not created after `send_by` (monotonic seconds)."""

    token: str
    model: str
    path: str
    requests: Sequence[BatchRequest]
    since: float = 0.0
    send_by: float = math.inf


@record(frozen=True, slots=True)
class BatchState:
    """How far a batch is. `results` are what its results are read from, in the provider's own terms. `ended_early`: it was
    cancelled or has expired, so that requests may be without a result. `problem` is why it was refused as a whole, `retry_later`
    that it was for want of room in the provider's queue."""

    id: str
    has_ended: bool
    total: int = 0
    done: int = 0
    is_cancelling: bool = False
    results: tuple[str, ...] = ()
    ended_early: bool = False
    problem: str = ""
    retry_later: bool = False


@record(frozen=True, slots=True)
class BatchResult:
    """One request's result: an HTTP status with the body of an answer; `status` is None if it was not processed before the batch
    ended."""

    id: str
    status: int | None
    body: bytes = b""


class BatchApi(ABC):
    """One provider's batches. Holds no state."""

    has_files: bool = True
    """Whether requests are uploaded as a file first."""
    largest: int = 100 * 1024 * 1024
    """Bytes that a batch may have."""

    @abstractmethod
    def content(self, submission: Submission) -> bytes:
        """Return the requests as they are sent."""

    @abstractmethod
    async def upload(self, http: BatchHttp, token: str, content: bytes) -> str:
        """Upload the requests, and return the file's id. Raises BatchCallFailed."""

    @abstractmethod
    async def create(self, http: BatchHttp, submission: Submission, content: bytes, file: str) -> str:
        """Create the batch, from an uploaded `file` where the provider has files, and return its id. Raises BatchCallFailed."""

    @abstractmethod
    async def find(self, http: BatchHttp, submission: Submission, known: Sequence[str]) -> str | None:
        """Return the id of the batch that was made of a submission, if there is one. Where that can't be known before it has
        ended, it may be another one, but none of `known`. Raises BatchCallFailed, also if the list of batches is longer than
        what is looked through: the batch may be behind it."""

    @abstractmethod
    async def state(self, http: BatchHttp, batch: str) -> BatchState:
        """Ask how far a batch is. Raises BatchCallFailed."""

    @abstractmethod
    def results(self, http: BatchHttp, state: BatchState) -> AsyncIterator[BatchResult]:
        """Yield the results of a batch that has ended, in any order. Raises BatchCallFailed."""

    @abstractmethod
    async def cancel(self, http: BatchHttp, batch: str) -> None:
        """Have a batch end soon. Raises BatchCallFailed."""

    async def delete(self, http: BatchHttp, state: BatchState, file: str) -> None:  # noqa: B027 (most have nothing to delete)
        """Delete what the provider keeps of a batch whose results have been read. Raises BatchCallFailed."""


def named_fields(answer: HttpAnswer) -> dict[str, Any]:
    """Read a JSON object. Raises BatchCallFailed for anything else."""
    try:
        parsed = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        _raise_unreadable(f"an answer of {len(answer.body)} bytes is no JSON object")
    return parsed


async def read_json_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines, read piece by piece. Raises BatchCallFailed for a line that is none."""
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if line.strip():
                yield _object(line)
        if len(rest) > LONGEST_RESULT:
            _raise_unreadable(f"a result has more than {LONGEST_RESULT:,} bytes")
    if rest.strip():
        yield _object(rest)


def raise_not_found(listed: int) -> NoReturn:
    """Raise BatchCallFailed: a batch is none of the newest ones, and may be among the older ones, which were not looked at."""
    what = f"whether the batch was created is unknown: it is not among the newest {listed:,}, and there are more"
    raise BatchCallFailed(Failure(FailureKind.INVALID_RESPONSE, what), answered=False)


def failed_call(what: str, answer: HttpAnswer) -> BatchCallFailed:
    """Classify an answer whose status is not 2xx. `what` is the request: `POST /batches`."""
    try:
        parsed = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        parsed = None
    message, code = error_of(parsed, answer.body)
    kind = failure_kind(answer.status, code)
    text = f"HTTP {answer.status} for {what}: {message}"
    return BatchCallFailed(
        Failure(kind, text, answer.status, retry_after_seconds(answer.headers)),
        answered=400 <= answer.status < 500 and answer.status not in UNCERTAIN,
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict):
        _raise_unreadable(f"a result of {len(line)} bytes is no JSON object")
    return parsed


def _raise_unreadable(what: str) -> NoReturn:
    raise BatchCallFailed(Failure(FailureKind.INVALID_RESPONSE, what), answered=False)
