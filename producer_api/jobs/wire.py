"""Wire models of /api/v1. Times are seconds since the epoch, durations are seconds."""

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.cost.cap import MAX_CAP
from jobs.cost.projection import project
from jobs.intake.lines import CHAT_PATH
from jobs.records import Job
from jobs.records.waiting import Waiting
from jobs.rounds.retry import RetrySelection
from jobs.service import MAX_PRIORITY, MOST_CANARY_LINES
from producer_api.files.wire import BatchError, Page, ends
from producer_api.jobs.checks import CheckList, Recheck
from producer_api.jobs.webhooks import JobWebhook, WebhookSettings

__all__ = ["JobChange", "JobCreate", "JobList", "JobObject"]

INPUTS = ("prompts", "messages", "requests")
LINE_FIELDS = frozenset({"prompt", "custom_id", "method", "url", "body", "stream"})
"""Fields of one line, which can't stand for all of them."""
MaxCost = Annotated[float, Field(strict=True, gt=0, le=MAX_CAP)]
"""USD at which a job pauses."""


class JobCanary(BaseModel):
    """Lines after which a job pauses: the first ones, or with `random` some that are drawn."""

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[int, Field(strict=True, ge=1, le=MOST_CANARY_LINES)]
    random: bool = False


class JobCreate(BaseModel):
    """What makes a job: requests in the body, or the id of an uploaded file.

    With `dedupe`, the same request is sent once, and each line that repeats it gets its answer; if it is left out, only where the
    answers would be the same (temperature 0 or a seed, or nothing is generated). `order: input` sends the lines as they stand,
    instead of those that begin alike one after the other. After the lines of a `canary` the job is `paused` until the canary is
    set to null. `price_class: flex` has lines processed at half the price and more slowly where an endpoint has flex processing,
    and as usual near the end of the window. `batch` has them handed in as the provider's batches, at half the price, where an
    endpoint has `batch: true`; `cheapest` does that for as long as the window leaves time to send the rest one by one. With
    `cache` (such as `30d`, 90 days at most) requests that another job has had answered get that answer. When the job ends or
    pauses, that is sent to its `webhook`.

    Every further field is a chat field (`model`, `max_tokens`, `temperature` and so on): the default of each request that
    does not have it. Requests are numbered in the order prompts, messages, requests.
    """

    model_config = ConfigDict(extra="allow")

    prompts: list[str] | None = None
    messages: list[list[dict[str, Any]]] | None = None
    requests: list[dict[str, Any]] | None = None
    input_file_id: str | None = None
    endpoint: str = CHAT_PATH
    completion_window: str = "24h"
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    background: bool = False
    order: Literal["auto", "input"] = "auto"
    dedupe: bool | None = None
    price_class: Literal["", "standard", "flex", "batch", "cheapest"] = ""
    canary: JobCanary | None = None
    cache: str = ""
    metadata: dict[str, str] | None = None
    max_cost: MaxCost | None = None
    checks: CheckList = []
    recheck: Recheck | None = None
    webhook: WebhookSettings | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """The chat fields for every request."""
        return self.model_extra or {}

    @model_validator(mode="after")
    def _has_one_kind_of_input(self) -> "JobCreate":
        inline = any(getattr(self, name) for name in INPUTS)
        if inline == (self.input_file_id is not None):
            raise ValueError("give either requests (prompts, messages or requests, not empty) or input_file_id")
        if self.input_file_id is not None and self.defaults:
            raise ValueError(f"{sorted(self.defaults)[0]} can't be set for a file's lines; write it into them")
        if self.endpoint != CHAT_PATH and (self.prompts or self.messages):
            raise ValueError(f"prompts and messages are chats; give requests for {self.endpoint}")
        misplaced = sorted(LINE_FIELDS & self.defaults.keys())
        if misplaced:
            raise ValueError(f"{misplaced[0]} is no field of a job; see prompts, messages and requests")
        return self


class JobChange(BaseModel):
    """What can be changed of a job in progress: its cap, null for none, and its canary, to null: a job that was paused at its cap
    or after its canary goes on. `paused` pauses it, or lets it go on; `priority`; `completion_window`, from when it began; and
    the `endpoints` that its lines may be sent to, null for any."""

    model_config = ConfigDict(extra="forbid")

    max_cost: MaxCost | None = None
    canary: None = None
    paused: bool = False
    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    completion_window: str = ""
    endpoints: list[str] | None = Field(default=None, max_length=1_000)


class JobReason(BaseModel):
    """What a job is waiting for."""

    why: str


class JobRetry(BaseModel):
    """Which lines of an ended job to send again: all that failed, those with one of the error codes `errors`, or the lines of
    `lines`, such as `5,9-20`. They have `completion_window` to be done, that of the job if it is left out."""

    model_config = ConfigDict(extra="forbid")

    errors: list[str] = Field(default=[], max_length=100)
    lines: str = Field(default="", max_length=10_000)
    completion_window: str = ""

    def selection(self) -> RetrySelection:
        """Return the lines. Raises InvalidRequest."""
        return RetrySelection.of(",".join(self.errors), self.lines)


class JobRound(BaseModel):
    """How a job had ended before lines of it were sent again: `sent_again` of them, after `completed` and `failed` ones."""

    ended_at: int
    completed: int
    failed: int
    sent_again: int
    error_file_id: str | None


class JobCounts(BaseModel):
    """The account of a job's lines. In the end, total = completed + failed + cancelled + expired."""

    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    in_progress: int


class JobTokens(BaseModel):
    """Tokens as the endpoints counted them."""

    input: int
    cached: int
    output: int
    reasoning: int
    total: int


class JobCost(BaseModel):
    """What the finished lines cost, without the `unpriced_lines` whose price is unknown. The endpoints' prefix caches saved
    `saved_by_cache` USD of it."""

    usd: float
    unpriced_lines: int
    saved_by_cache: float


class JobProjection(BaseModel):
    """The totals if the other lines are like the finished ones. `usd` is null while no price is known; `at_least` tells that
    some lines have none, so that it is a lower bound."""

    usd: float | None
    at_least: bool
    input_tokens: int
    output_tokens: int


class JobPause(BaseModel):
    """Why no lines are begun for now: `max_cost` (what the job has cost has reached its cap), `key_budget` (what its key has
    spent has reached the key's budget of the day or the month) or `key_revoked`."""

    reason: str
    since: int | None
    """Seconds since the epoch."""


class JobWaiting(BaseModel):
    """What keeps lines from being finished: failures everywhere, endpoints that are down, a store that can't be used."""

    reason: str
    next_attempt_at: int | None
    """Seconds since the epoch; null if unknown."""

    @classmethod
    def of(cls, waiting: Waiting | None) -> "JobWaiting | None":
        """Make it of what is known."""
        if waiting is None:
            return None
        at = waiting.next_attempt_at
        return cls(reason=waiting.reason, next_attempt_at=None if at is None else round(at))


class JobTimes(BaseModel):
    """When what happened; null for what has not."""

    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None


class JobLinks(BaseModel):
    """Where to go from here."""

    self: str
    results: str
    events: str
    output: str | None
    errors: str | None


class JobObject(BaseModel):
    """A job. `progress` goes from 0 to 1; `rate` is lines a second so far, `eta` how many seconds are left at that rate.

    `max_cost` is the cap in USD, null for none, `canary` the requests after which it pauses; `paused` is null unless no lines are
    begun for now, `waiting` while lines are being finished. `hedged_lines` were sent to a second endpoint while the first was
    late. `projection` is null until some lines are finished, and when the job has ended.
    """

    id: str
    object: Literal["job"] = "job"
    status: str
    counts: JobCounts
    progress: float
    rate: float | None
    eta: float | None
    tokens: JobTokens
    cost: JobCost
    max_cost: float | None
    canary: int | None
    price_class: str | None
    paused: JobPause | None
    waiting: JobWaiting | None
    projection: JobProjection | None
    endpoints: dict[str, int]
    retries: int
    hedged_lines: int
    models: list[str]
    priority: int
    background: bool
    ordered: bool
    repeats: int
    late_at: int | None
    metadata: dict[str, str] | None
    webhook: JobWebhook | None
    timestamps: JobTimes
    errors: list[BatchError]
    earlier: list[JobRound]
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    links: JobLinks

    @classmethod
    def of(cls, job: Job, now: float | None = None) -> "JobObject":
        """Make it of a job as it is at `now`."""
        ledger = job.ledger
        rate = _rate(job, time.time() if now is None else now)
        left = ledger.total - ledger.done
        return cls(
            id=job.id,
            status=job.status,
            counts=_counts(job),
            progress=_progress(job),
            rate=rate,
            eta=round(left / rate, 1) if rate and not (job.is_final or job.ending or job.paused) else None,
            tokens=_tokens(job),
            cost=JobCost(usd=job.cost, unpriced_lines=job.unpriced, saved_by_cache=job.saved),
            max_cost=job.max_cost,
            canary=job.canary or None,
            price_class=job.price_class or None,
            paused=JobPause(reason=job.paused, since=job.times.get("paused_at")) if job.paused else None,
            waiting=JobWaiting.of(job.waiting),
            projection=_projection(job),
            endpoints=job.shares,
            retries=job.retries,
            hedged_lines=job.hedged,
            models=list(job.models),
            priority=0 if job.is_background else job.priority,
            background=job.is_background,
            ordered=job.groups_prefixes,
            repeats=job.repeats,
            late_at=job.late_at,
            metadata=job.metadata,
            webhook=JobWebhook.of(job),
            timestamps=_times(job),
            errors=[BatchError(**bad.as_dict()) for bad in job.errors],
            earlier=[JobRound(**each) for each in job.earlier],
            input_file_id=job.input_file_id,
            output_file_id=job.output_file_id,
            error_file_id=job.error_file_id,
            links=_links(job),
        )


class JobList(Page):
    """A page of jobs, newest first."""

    data: list[JobObject]

    @classmethod
    def of(cls, jobs: list[Job], more: bool) -> "JobList":
        """Make it of jobs."""
        return cls(data=[JobObject.of(job) for job in jobs], has_more=more, **ends([job.id for job in jobs]))


def _counts(job: Job) -> JobCounts:
    ledger = job.ledger
    return JobCounts(
        total=ledger.total,
        completed=ledger.completed,
        failed=ledger.failed,
        cancelled=ledger.cancelled,
        expired=ledger.expired,
        in_progress=ledger.total - ledger.done,
    )


def _progress(job: Job) -> float:
    if not job.ledger.total:
        return 1.0 if job.is_final else 0.0
    return round(job.ledger.done / job.ledger.total, 6)


def _rate(job: Job, now: float) -> float | None:
    """Return the lines a second since the job began, None before there is anything to tell."""
    began = job.times.get("in_progress_at")
    finished = job.ledger.completed + job.ledger.failed - job.kept
    if began is None or not finished:
        return None
    until = job.times.get(f"{job.status}_at", now) if job.is_final else now
    # Times in the record are whole seconds: a shorter span says nothing.
    return round(finished / max(1.0, until - began), 3)


def _tokens(job: Job) -> JobTokens:
    tokens = job.tokens
    return JobTokens(
        input=tokens.prompt,
        cached=tokens.cached,
        output=tokens.completion,
        reasoning=tokens.reasoning,
        total=tokens.prompt + tokens.completion,
    )


def _projection(job: Job) -> JobProjection | None:
    found = project(job)
    if found is None:
        return None
    return JobProjection(
        usd=None if found.cost is None else round(found.cost, 9),
        at_least=found.at_least,
        input_tokens=found.prompt_tokens,
        output_tokens=found.completion_tokens,
    )


def _times(job: Job) -> JobTimes:
    moments = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    times = {f"{moment}_at": job.times.get(f"{moment}_at") for moment in moments}
    return JobTimes(created_at=job.created_at, expires_at=job.expires_at, **times)


def _links(job: Job) -> JobLinks:
    here = f"/api/v1/jobs/{job.id}"
    return JobLinks(
        self=here,
        results=f"{here}/results",
        events=f"{here}/events",
        output=f"/v1/files/{job.output_file_id}/content" if job.output_file_id else None,
        errors=f"/v1/files/{job.error_file_id}/content" if job.error_file_id else None,
    )
