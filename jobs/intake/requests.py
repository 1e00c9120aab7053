"""A request for a job: as a producer makes it, and once it has been checked."""

from dataclasses import dataclass

from jobs.access.caller import ANONYMOUS, Caller
from jobs.records import BadLine, FileRecord

__all__ = ["JobRequest", "NewJob"]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What makes a job. `window` is a number and a unit (`24h`, `90s`); higher `priority` goes first, and a
    `background` one takes only what no other wants; at `max_cost` (USD) the
    job pauses. It belongs to the `caller`, who must be able to see the input. `order` is `auto`, or `input` to send the lines as
    they stand. `request_digest` is kept with the job, to tell a
    repeat of the request that made it from another one. `checks` is what its answers have to pass (see jobs.checks)."""

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


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request for a job that has been checked; with `errors` it is refused. `window_seconds` is how long it may take."""

    request: JobRequest
    input: FileRecord
    window_seconds: float = 86400.0
    errors: tuple[BadLine, ...] = ()
