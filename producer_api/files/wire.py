"""Wire models of the OpenAI-compatible routes. Times are seconds since the epoch."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.records import BadLine, FileRecord, Job
from producer_api.http.rendering import rfc3339
from producer_api.jobs.checks import CheckList, Recheck
from producer_api.jobs.webhooks import WebhookSettings

__all__ = [
    "LONGEST_TTL", "PURPOSES", "SHORTEST_TTL", "BatchCreate", "BatchError", "BatchList", "BatchObject", "ErrorEnvelope",
    "FileDeleted", "FileList", "FileObject", "ModelList", "ModelObject", "Page", "ends",
]  # fmt: skip

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
"""What a file may be uploaded for."""
SHORTEST_TTL = 3600
LONGEST_TTL = 2_592_000
"""Seconds that a client may ask a file to be kept."""


class Page(BaseModel):
    """One page of a list. Go on with `after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class FileObject(BaseModel):
    """A file. `status` is `error` where the check of a batch's input found something; `status_details` says what."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    expires_at: int | None
    status_details: str | None

    @classmethod
    def of(cls, record: FileRecord) -> "FileObject":
        """Make it of a record."""
        return cls(
            id=record.id,
            bytes=record.size,
            created_at=record.created_at,
            filename=record.filename,
            purpose=record.purpose,
            status="error" if record.errors else "processed",
            expires_at=record.expires_at,
            status_details=_summary(record.errors),
        )


class FileList(Page):
    """A page of files."""

    data: list[FileObject]

    @classmethod
    def of(cls, records: list[FileRecord], more: bool) -> "FileList":
        """Make it of records."""
        data = [FileObject.of(record) for record in records]
        return cls(data=data, has_more=more, **ends([file.id for file in data]))


class FileDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class OutputExpiry(BaseModel):
    """When the files that a batch makes expire, counted from their own creation."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=SHORTEST_TTL, le=LONGEST_TTL)]


class BatchCreate(BaseModel):
    """What makes a batch. These fields are ours: batches of a higher `priority` go first (-100 to 100), a `background` one takes
    only what no other wants; `order: input` sends the lines as they stand; `dedupe` says whether the same request is sent once,
    `cache` how old another job's answer may be, and `price_class` how lines are processed (see /api/v1/jobs); one that has cost
    `max_cost` (USD) pauses, which /api/v1/jobs shows and changes; `checks` are what answers have to pass, and `recheck` says how
    a request is repeated whose answer fails them; `webhook` is where its events are sent."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None
    output_expires_after: OutputExpiry | None = None
    priority: int = 0
    background: bool = False
    order: Literal["auto", "input"] = "auto"
    dedupe: bool | None = None
    price_class: Literal["", "standard", "flex", "batch", "cheapest"] = ""
    cache: str = ""
    max_cost: Annotated[float, Field(strict=True)] | None = None
    checks: CheckList = []
    recheck: Recheck | None = None
    webhook: WebhookSettings | None = None


class BatchError(BaseModel):
    """Why an input was refused. `line` counts from 1."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    """The reasons why an input was refused."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """Of the input tokens."""

    cached_tokens: int


class OutputTokensDetails(BaseModel):
    """Of the output tokens."""

    reasoning_tokens: int


class BatchUsage(BaseModel):
    """Tokens, summed over the batch's requests."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(BaseModel):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None

    @classmethod
    def of(cls, job: Job) -> "BatchObject":
        """Make it of a job."""
        return cls(
            id=job.id,
            endpoint=job.path,
            model=job.models[0] if len(job.models) == 1 else None,
            errors=_errors(job.errors),
            input_file_id=job.input_file_id,
            completion_window=job.window,
            status=job.status,
            output_file_id=job.output_file_id,
            error_file_id=job.error_file_id,
            created_at=job.created_at,
            in_progress_at=job.times.get("in_progress_at"),
            expires_at=job.expires_at,
            finalizing_at=job.times.get("finalizing_at"),
            completed_at=job.times.get("completed_at"),
            failed_at=job.times.get("failed_at"),
            expired_at=job.times.get("expired_at"),
            cancelling_at=job.times.get("cancelling_at"),
            cancelled_at=job.times.get("cancelled_at"),
            request_counts=RequestCounts(total=job.ledger.total, completed=job.ledger.completed, failed=job.ledger.failed),
            usage=_usage(job),
            metadata=job.metadata,
        )


class BatchList(Page):
    """A page of batches, newest first."""

    data: list[BatchObject]

    @classmethod
    def of(cls, jobs: list[Job], more: bool) -> "BatchList":
        """Make it of jobs."""
        return cls(data=[BatchObject.of(job) for job in jobs], has_more=more, **ends([job.id for job in jobs]))


class ModelObject(BaseModel):
    """A model that some endpoint serves, with the fields of OpenAI's and of Anthropic's API."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"

    @classmethod
    def of(cls, name: str, created: int, provider: str) -> "ModelObject":
        """Make it of a model's name. `created` is in seconds since the epoch."""
        return cls(id=name, created=created, owned_by=provider, display_name=name, created_at=rfc3339(created))


class ModelList(Page):
    """All models that are known of, on one page."""

    data: list[ModelObject]

    @classmethod
    def of(cls, models: list[ModelObject]) -> "ModelList":
        """Make it of models."""
        return cls(data=models, **ends([model.id for model in models]))


class ErrorDetail(BaseModel):
    """What went wrong. `param` names the field that it is about."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(BaseModel):
    """Every error's shape."""

    error: ErrorDetail


def ends(ids: list[str]) -> dict[str, str]:
    """Return the fields that say where a page begins and ends."""
    return {"first_id": ids[0], "last_id": ids[-1]} if ids else {}


def _summary(errors: tuple[BadLine, ...]) -> str | None:
    """Tell the first error, and how many more there are."""
    if not errors:
        return None
    rest = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return errors[0].message + rest


def _errors(errors: tuple[BadLine, ...]) -> BatchErrors | None:
    return BatchErrors(data=[BatchError(**bad.as_dict()) for bad in errors]) if errors else None


def _usage(job: Job) -> BatchUsage:
    tokens = job.tokens
    return BatchUsage(
        input_tokens=tokens.prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=tokens.cached),
        output_tokens=tokens.completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=tokens.reasoning),
        total_tokens=tokens.prompt + tokens.completion,
    )
