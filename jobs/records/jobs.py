"""Records of jobs."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from balancer.state.slots.fair_queue import BACKGROUND
from jobs.records.fields import NANO, Fields, number_or_none
from jobs.records.files import BadLine
from jobs.records.states import FINAL, JobStatus, PauseReason
from jobs.records.waiting import Waiting

__all__ = ["FirstRound", "Job", "Ledger", "Tokens"]


@dataclass(frozen=True, slots=True)
class FirstRound:
    """A job's first round, in which the same request is sent once, or some lines before the others: its folder, the path of the
    array of first lines (see jobs.intake.repeats; "" without repeats), how many lines are sent, how many get the result of one of
    them, and how many of the first ones are the canary. `bytes` is what is sent."""

    folder: str
    first_lines: str
    lines: int
    repeats: int
    bytes: int
    canary: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account of a job's lines: in the end, total = completed + failed + cancelled + expired."""

    total: int
    completed: int
    failed: int
    cancelled: int = 0
    expired: int = 0

    @property
    def done(self) -> int:
        """Lines that have come to their end."""
        return self.completed + self.failed + self.cancelled + self.expired

    @property
    def balances(self) -> bool:
        """Whether every line has come to exactly one end."""
        return self.done == self.total


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens as the endpoints counted them, summed over a job's lines."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One submitted input file. Times are seconds since the epoch, None for what has not happened.

    `priority` is `BACKGROUND` for jobs that take only idle capacity. `is_urgent`: the job would miss its deadline with an even
    share of the fleet. `late_at` is when a job that can't meet its deadline is estimated to be done.

    With `ordered` its lines are sent in another order than that of the input (see jobs.intake.line_order): shards, parts and the
    cursor count places in it, results the lines of the input. With `groups_prefixes`, lines that begin alike are neighbours.

    `cost` is in USD, without the `unpriced` lines whose price is unknown; without the endpoints' caches it were `saved` more. At
    `max_cost` the job is `paused` (None: no cap, not paused), as it is after the lines of its `canary` (0: none). `hedged` lines
    were sent to a second endpoint while the first was late. `waiting` says what keeps its lines from being finished, None while
    they are. `shares` are lines by the endpoint that answered. With `names_no_model` some lines leave the model to the endpoint.
    `checks` is what its answers have to pass (see jobs.checks), `webhook` where its events are sent (see jobs.webhooks), `trace`
    the `traceparent` of the request that made it. Answers of other jobs that are not older than `cache` seconds are used (0: none
    are). `price_class` is how its lines are processed, "" for each endpoint's own; `no_batches` is why they are not handed in as
    batches any more. Its lines are sent to no others than its `endpoints` (empty: to any).

    In a `round` (its folder, see jobs.rounds) not every line is sent: there are results of `kept` ones, and `repeats` get the
    result of the line with the same request, which the array at `first_lines` names. `earlier` has the rounds before: `ended_at`,
    `completed`, `failed`, `error_file_id`. `owner` is the id of the API key that it was made with, "" where there was none; its
    lines are paced by the rates that the key had then (`key_rpm`, `key_tpm`; 0: none), and with `is_restricted` they don't choose
    where they go; `request_digest` tells the request that made it from others with the same idempotency key.
    """

    id: str
    status: JobStatus
    input_file_id: str
    path: str
    window: str
    created_at: int
    expires_at: int
    ledger: Ledger
    cursor: int = 0
    priority: int = 0
    is_urgent: bool = False
    late_at: int | None = None
    models: tuple[str, ...] = ()
    names_no_model: bool = False
    metadata: dict[str, str] | None = None
    tokens: Tokens = Tokens()
    cost: float = 0.0
    saved: float = 0.0
    hedged: int = 0
    unpriced: int = 0
    max_cost: float | None = None
    canary: int = 0
    cache: int = 0
    price_class: str = ""
    no_batches: str = ""
    endpoints: tuple[str, ...] = ()
    paused: PauseReason | None = None
    waiting: Waiting | None = None
    shares: dict[str, int] = field(default_factory=dict)
    retries: int = 0
    ending: str = ""
    errors: tuple[BadLine, ...] = ()
    output_file_id: str | None = None
    error_file_id: str | None = None
    output_ttl: int | None = None
    ordered: bool = False
    groups_prefixes: bool = False
    owner: str = ""
    key_rpm: int = 0
    key_tpm: int = 0
    is_restricted: bool = False
    request_digest: str = ""
    round: str = ""
    kept: int = 0
    repeats: int = 0
    first_lines: str = ""
    checks: str = ""
    webhook: str = ""
    trace: str = ""
    earlier: tuple[dict[str, Any], ...] = ()
    times: dict[str, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """How many lines there are to be sent in this round: what shards and the cursor count."""
        return self.ledger.total - self.kept - self.repeats

    @property
    def asked_models(self) -> tuple[str, ...]:
        """The models that the lines name, and "" if some name none."""
        return (*self.models, "") if self.names_no_model else self.models

    @property
    def is_background(self) -> bool:
        """Whether it takes only what no other job wants."""
        return self.priority == BACKGROUND

    @property
    def is_final(self) -> bool:
        """Whether nothing is going to change any more."""
        return self.status in FINAL

    @classmethod
    def from_fields(cls, job_id: str, fields: Fields) -> "Job":
        """Make the job from its Redis hash."""

        def count(name: str) -> int:
            return int(fields.get(name) or 0)

        return cls(
            id=job_id,
            status=JobStatus(fields["status"]),
            input_file_id=fields["file"],
            path=fields["path"],
            window=fields["window"],
            created_at=count("created_at"),
            expires_at=count("expires_at"),
            ledger=Ledger(
                count("total") + count("kept") + count("repeats"),
                count("completed"),
                count("failed"),
                count("cancelled_lines"),
                count("expired_lines"),
            ),
            cursor=count("cursor"),
            priority=count("priority"),
            is_urgent=fields.get("outlook") == "urgent",
            late_at=_late_at(fields.get("outlook", "")),
            models=tuple(orjson.loads(fields.get("models") or "[]")),
            names_no_model=fields.get("names_no_model") == "1",
            metadata=orjson.loads(fields.get("metadata") or "null"),
            tokens=Tokens(*(count(f"{kind}_tokens") for kind in ("prompt", "completion", "cached", "reasoning"))),
            cost=count("cost_nano") / NANO,
            saved=count("saved_nano") / NANO,
            hedged=count("hedged"),
            unpriced=count("unpriced"),
            max_cost=count("max_cost_nano") / NANO if "max_cost_nano" in fields else None,
            canary=count("canary"),
            cache=count("cache"),
            price_class=fields.get("price_class", ""),
            no_batches=fields.get("no_batches", ""),
            endpoints=tuple(orjson.loads(fields.get("endpoints") or "[]")),
            paused=PauseReason(fields["paused"]) if fields.get("paused") else None,
            waiting=Waiting.from_json(fields["waiting"]) if fields.get("waiting") and not fields.get("paused") else None,
            shares={name.removeprefix("at:"): int(lines) for name, lines in fields.items() if name.startswith("at:")},
            retries=count("retries"),
            ending=fields.get("ending", ""),
            errors=tuple(BadLine(**entry) for entry in orjson.loads(fields.get("errors") or "[]")),
            output_file_id=fields.get("output_file") or None,
            error_file_id=fields.get("error_file") or None,
            output_ttl=number_or_none(fields.get("output_ttl")),
            ordered=fields.get("ordered") == "1" or bool(fields.get("round")),
            groups_prefixes=fields.get("ordered") == "1",
            owner=fields.get("owner", ""),
            key_rpm=count("key_rpm"),
            key_tpm=count("key_tpm"),
            is_restricted=fields.get("restricted") == "1",
            request_digest=fields.get("request_digest", ""),
            round=fields.get("round", ""),
            checks=fields.get("checks", ""),
            webhook=fields.get("webhook", ""),
            trace=fields.get("trace", ""),
            kept=count("kept"),
            repeats=count("repeats"),
            first_lines=fields.get("first_lines", ""),
            earlier=tuple(orjson.loads(fields.get("earlier") or "[]")),
            times={name: int(fields[name]) for name in TIMES if fields.get(name)},
        )


TIMES = (
    "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "paused_at",
)  # fmt: skip


def _late_at(outlook: str) -> int | None:
    kind, _, at = outlook.partition(" ")
    return int(at) if kind == "late" else None
