"""Message batches as Anthropic's clients see them, and the jobs behind them (pure).

Shapes: anthropic SDK 2.11, `anthropic.types.messages`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from balancer.outcome import FailureKind
from balancer.providers.openai.answers import usage_of
from jobs.records import Job
from producer_api.gateway.failures import status_of
from producer_api.http.errors import ApiError, Problem
from producer_api.http.rendering import rfc3339
from producer_api.messages.answers import message_object
from producer_api.messages.errors import error_type
from producer_api.messages.request import chat_body

__all__ = ["METADATA", "BatchCreate", "BatchDeleted", "BatchList", "BatchObject", "input_lines", "result_line"]

METADATA = {"roadbalancer.api": "messages"}
"""Metadata of jobs that were created as message batches."""
_STOPPED = {"batch_cancelled": "canceled", "batch_expired": "expired"}
"""Error codes of lines that were not sent -> result types."""


class BatchRequest(BaseModel):
    """One request of a batch. `params` are those of a request for a message."""

    model_config = ConfigDict(extra="forbid")

    custom_id: Annotated[str, Field(min_length=1, max_length=64)]
    params: dict[str, Any]


class BatchCreate(BaseModel):
    """The body of a request that creates a message batch."""

    model_config = ConfigDict(extra="forbid")

    requests: Annotated[list[BatchRequest], Field(min_length=1, max_length=100_000)]


def input_lines(batch: BatchCreate) -> Iterator[bytes]:
    """Yield a batch's requests as lines of an input file. Raises ApiError that names the request and the field."""
    for index, request in enumerate(batch.requests):
        try:
            if request.params.get("stream"):
                raise ApiError(Problem(400, "stream: is not supported in batches", param="stream"))
            body = chat_body(request.params)
        except ApiError as exc:
            place, problem = f"requests[{index}].params", exc.problem
            param = f"{place}.{problem.param}" if problem.param else place
            raise ApiError(Problem(problem.status, f"{place}.{problem.message}", param=param, code=problem.code)) from None
        line = {"custom_id": request.custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield orjson.dumps(line) + b"\n"


class RequestCounts(BaseModel):
    """Numbers of requests by their result."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class BatchObject(BaseModel):
    """A message batch. Times are those of RFC 3339. `results_url` is relative to the server's address."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: RequestCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    cancel_initiated_at: str | None
    archived_at: str | None = None
    results_url: str | None

    @classmethod
    def of(cls, job: Job) -> "BatchObject":
        """Make it of a job."""
        ledger, times = job.ledger, job.times
        ended = next((times[name] for name in ("completed_at", "failed_at", "expired_at", "cancelled_at") if name in times), None)
        status = "ended" if job.is_final else "canceling" if job.ending == "cancelled" else "in_progress"
        return cls.model_validate(
            {
                "id": job.id,
                "processing_status": status,
                "request_counts": {
                    "processing": ledger.total - ledger.done,
                    "succeeded": ledger.completed,
                    "errored": ledger.failed,
                    "canceled": ledger.cancelled,
                    "expired": ledger.expired,
                },
                "created_at": _moment(job.created_at),
                "expires_at": _moment(job.expires_at),
                "ended_at": _moment(ended) if job.is_final else None,
                "cancel_initiated_at": _moment(times.get("cancelling_at") or times.get("cancelled_at")),
                "results_url": f"/v1/messages/batches/{job.id}/results" if job.is_final else None,
            }
        )


class BatchList(BaseModel):
    """A page of message batches, newest first."""

    data: list[BatchObject]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, jobs: list[Job], more: bool) -> "BatchList":
        """Make it of jobs."""
        ids = [job.id for job in jobs]
        return cls(
            data=[BatchObject.of(job) for job in jobs],
            has_more=more,
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
        )


class BatchDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def result_line(line: bytes) -> bytes:
    """Convert a line of a job's output or error file to a result of a message batch."""
    entry = orjson.loads(line)
    return orjson.dumps({"custom_id": entry["custom_id"], "result": _result(entry)}) + b"\n"


def _result(entry: Mapping[str, Any]) -> dict[str, Any]:
    error, response = entry.get("error"), entry.get("response") or {}
    if isinstance(error, dict):
        code = str(error.get("code"))
        if code in _STOPPED:
            return {"type": _STOPPED[code]}
        return _errored(status_of(FailureKind(code)) if code in set(FailureKind) else 500, str(error.get("message")))
    body, status = response.get("body") or {}, int(response.get("status_code") or 0)
    if status != 200:
        error = body.get("error")
        return _errored(status, str(error.get("message") if isinstance(error, dict) else "the endpoint refused the request"))
    return {"type": "succeeded", "message": message_object(body, "", usage_of(body.get("usage")))}


def _errored(status: int, message: str) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": error_type(status), "message": message}}}
