"""A request for a job: as a producer makes it, and once it has been checked."""

from dataclasses import dataclass

from balancer.configuration.values import MediaUrls
from jobs.access.caller import ANONYMOUS, Caller
from jobs.records import BadLine, FileRecord, FirstRound

__all__ = ["LONGEST_CACHE", "Canary", "JobRequest", "NewJob"]


LONGEST_CACHE = 90 * 86400
"""Seconds that an answer is kept for other jobs at most."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Lines after which a job pauses, to be looked at: the first ones of the input, or with `random` some that are drawn."""

    lines: int
    random: bool = False


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What makes a job. It belongs to the `caller`, who must be able to see the input.

    `window` is a number and a unit (`24h`, `90s`); higher `priority` goes first, and a `background` one takes only what no other
    wants; at `max_cost` (USD) the job pauses. `order` is `auto`, or `input` to send the lines as they stand. `dedupe` is whether
    the same request is sent once: always, never, or (None) if the same answer can be expected (see
    jobs.intake.repeats.is_repeatable). After the lines of a `canary` it pauses. With `cache` (a number and a unit) a request that
    another job of the caller's had answered within that time gets that answer. `price_class` is how its lines are processed (see
    balancer.usage.price_class), "" for each endpoint's own. `checks` is what its answers have to pass (see jobs.checks), and
    `webhook` where its events are sent (see jobs.webhooks). `media_urls` is where media that its lines link to may be. `trace` is
    the `traceparent` of the request that made it, "" if nothing is traced. `request_digest` is kept with the job, to tell a
    repeat of the request that made it from another one.
    """

    input_file_id: str
    path: str
    window: str = "24h"
    priority: int = 0
    background: bool = False
    order: str = "auto"
    metadata: dict[str, str] | None = None
    output_ttl: int | None = None
    job_id: str | None = None
    max_cost: float | None = None
    caller: Caller = ANONYMOUS
    request_digest: str = ""
    checks: str = ""
    dedupe: bool | None = None
    canary: Canary | None = None
    cache: str = ""
    price_class: str = ""
    webhook: str = ""
    media_urls: MediaUrls = MediaUrls.ANY
    trace: str = ""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request for a job that has been checked; with `errors` it is refused. `window_seconds` is how long it may take, and
    `first_round` is there if not all lines are sent, or some before the others."""

    request: JobRequest
    input: FileRecord
    window_seconds: float = 86400.0
    errors: tuple[BadLine, ...] = ()
    first_round: FirstRound | None = None
    cache_seconds: int = 0
