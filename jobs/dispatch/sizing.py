"""Sizes of shards: how much work an endpoint may hold, and how large the next shard is (pure).

An endpoint holds no more lines than its credit: what it can have in flight, plus what it gets done in `CREDIT_SECONDS` at its
measured pace. Everything else stays with the jobs, where health, pauses, priorities and fairness can still change its course.
The credit is cut into a few shards, so that all worker processes share the work, and these shrink near the end of the job
(guided self-scheduling, Polychronopoulos and Kuck 1987), so that the last ones end together. Large answers bound both by their
bytes: the finished lines of a shard stay in Redis and in its worker until the shard is closed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

__all__ = ["EndpointLoad", "JobNeed", "ReturnedRange", "credit", "least_worth", "lines_within_bytes", "shard_size"]

CREDIT_SECONDS = 4.0
"""Work that an endpoint holds beyond what is in flight."""
LEAST_SECONDS = 0.05
"""Work below which a smaller shard gains nothing at the end of a job: handing it over takes some milliseconds."""
MAX_SHARD = 2000
"""Lines: bounds what a shard holds in memory and in Redis."""
MAX_SHARD_BYTES = 64 * 1024 * 1024
"""Bytes of input, by the job's average line."""
MAX_SHARD_ANSWER_BYTES = 16 * 1024 * 1024
"""Bytes of results in a shard, by the job's average result so far."""
MAX_AHEAD_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of results that a job's open lines may come to beyond those in flight, over all endpoints that serve it."""
MIN_SHARDS = 4
"""Shards that an endpoint's credit is cut into at least; two for each worker process, if that is more."""
MAX_PARTS = 100_000
"""Parts that a job has at most, by and large: bounds what has to be listed to read its results."""


@dataclass(frozen=True, slots=True)
class EndpointLoad:
    """An endpoint that can be given work. `latency` in seconds, None before the first answer; `open_lines` and
    `open_shards` are what it has; `idle_for` is how long it has finished nothing, in seconds."""

    name: str
    weight: float = 1.0
    max_concurrency: int = 32
    priority: int = 0
    latency: float | None = None
    open_lines: int = 0
    open_shards: int = 0
    probing: bool = False
    idle_for: float = 0.0

    @property
    def pace(self) -> float:
        """Lines per second with every slot in use; 0 while nothing is known."""
        return self.max_concurrency / self.latency if self.latency else 0.0

    def given(self, lines: int) -> "EndpointLoad":
        """Return it with one more shard of so many lines."""
        return replace(self, open_lines=self.open_lines + lines, open_shards=self.open_shards + 1)


class ReturnedRange(NamedTuple):
    """Lines that were cut and came back: see `Shard` for `attempt`, `lost` and `blamed`."""

    first: int
    end: int
    attempt: int = 0
    lost: int = 0
    blamed: int | None = None

    @property
    def member(self) -> str:
        """Its name in the job's returned set."""
        plain = f"{self.first}:{self.end}:{self.attempt}"
        return f"{plain}:{self.lost}:{'' if self.blamed is None else self.blamed}" if self.lost else plain

    @classmethod
    def parse(cls, member: str) -> "ReturnedRange":
        """Read the name back."""
        first, end, attempt, *losses = member.split(":")
        lost, blamed = losses or ("0", "")
        return cls(int(first), int(end), int(attempt), int(lost), int(blamed) if blamed else None)


@dataclass(frozen=True, slots=True)
class JobNeed:
    """A job that wants lines cut. `returned` are ranges that came back and go first; `endpoints` serve it; `line_bytes` is its
    average line and `result_bytes` its average result (0 before the first). `open_lines` has its unfinished lines at each
    endpoint that holds some, and `affordable` is how many may be open, by what is left under its cap and by the rates of its key
    (see jobs.cost.affordable, jobs.access.pacing). `seconds_left` is what is left of its `window` (s), `outlook` the latest
    estimate for it (see `deadlines`). `endpoints` are sent its lines one by one; those in `batches_at` are given them as the
    provider's batches now."""

    job_id: str
    cursor: int
    total: int
    returned: tuple[ReturnedRange, ...] = ()
    endpoints: frozenset[str] = frozenset()
    line_bytes: float = 1000.0
    priority: int = 0
    open_lines: Mapping[str, int] = field(default_factory=dict)
    result_bytes: float = 0.0
    seconds_left: float = math.inf
    window: float = 0.0
    outlook: str = ""
    affordable: float = math.inf
    batches_at: frozenset[str] = frozenset()

    @property
    def allowed(self) -> float:
        """Lines that may be given out now, by `affordable`; one at least while none is open."""
        opened = sum(self.open_lines.values())
        return max(self.affordable - opened, 0 if opened else 1)

    @property
    def remaining(self) -> int:
        """Lines that no endpoint has been given."""
        return self.total - self.cursor + sum(each.end - each.first for each in self.returned)

    def open_at(self, endpoint: str) -> int:
        """Return its unfinished lines at one endpoint."""
        return self.open_lines.get(endpoint, 0)

    def given(self, endpoint: str, lines: int) -> "JobNeed":
        """Return it with so many more lines open at `endpoint`."""
        return replace(self, open_lines={**self.open_lines, endpoint: self.open_at(endpoint) + lines})


def credit(load: EndpointLoad, remaining: int, fleet_pace: float) -> int:
    """Return how many lines an endpoint may have open while `remaining` more are to be given out, over all jobs.

    Near the end it falls to what can be in flight, so that no endpoint sits on lines that another could start. An endpoint
    that is being tried out after a failure gets a handful.
    """
    if load.probing:
        return min(4, load.max_concurrency)
    if not load.pace:
        return 2 * load.max_concurrency
    ahead = max(load.max_concurrency, load.pace * CREDIT_SECONDS)
    share = load.pace / fleet_pace if fleet_pace else 1.0
    return load.max_concurrency + math.ceil(min(ahead, remaining * share / 2))


def lines_within_bytes(load: EndpointLoad, need: JobNeed) -> float:
    """Return how many lines of a job an endpoint may have open before their results come to too many bytes."""
    if not need.result_bytes:
        return math.inf
    ahead = MAX_AHEAD_ANSWER_BYTES / (need.result_bytes * max(1, len(need.endpoints)))
    return load.max_concurrency + math.floor(ahead)


def least_worth(load: EndpointLoad, need: JobNeed, fleet_pace: float, workers: int = 1, demand: int | None = None) -> int:
    """Return the lines for which an endpoint is given another shard: half of what the next one would have.

    If every line that ends were followed by another at once, shards would soon have no more than a few, and the processes, which
    run a number of shards at a time, too few lines to fill the endpoint's slots.
    """
    return math.ceil(_usual_size(load, need, fleet_pace, workers, demand) / 2)


def shard_size(load: EndpointLoad, need: JobNeed, fleet_pace: float, workers: int = 1, demand: int | None = None) -> int:
    """Return how many lines the next shard of `need` for `load` has, with `workers` processes to share the work.

    `demand` counts the lines that all jobs still have for this endpoint (left out: this job's). A job that is given lines beyond
    the credit (see `jobs.dispatch.planning`) gets at most `max_concurrency` of them, in one shard for each process.
    """
    allowed = credit(load, need.remaining if demand is None else demand, fleet_pace)
    smallest = _smallest(load, need, workers)
    room = max(allowed - load.open_lines, smallest)
    if allowed - load.open_lines < least_worth(load, need, fleet_pace, workers, demand):
        beyond = allowed + load.max_concurrency - load.open_lines
        room = min(beyond, max(smallest, math.ceil(load.max_concurrency / workers)))
    sizes = (_usual_size(load, need, fleet_pace, workers, demand), _by_bytes(load, need), room, need.allowed)
    return max(1, int(min(sizes)))


def _usual_size(load: EndpointLoad, need: JobNeed, fleet_pace: float, workers: int, demand: int | None) -> int:
    """Return the size of a shard for an endpoint that has room for it."""
    shards = max(MIN_SHARDS, 2 * workers)
    allowed = credit(load, need.remaining if demand is None else demand, fleet_pace)
    share = load.pace / fleet_pace if fleet_pace and load.pace else 1.0
    guided = math.ceil(need.remaining * share / (2 * shards))
    smallest = _smallest(load, need, workers)
    return min(max(guided, smallest), max(math.ceil(allowed / shards), smallest), MAX_SHARD, need.remaining)


def _smallest(load: EndpointLoad, need: JobNeed, workers: int) -> int:
    shards = max(MIN_SHARDS, 2 * workers)
    return max(1, load.max_concurrency // (2 * shards), int(load.pace * LEAST_SECONDS), need.total // MAX_PARTS)


def _by_bytes(load: EndpointLoad, need: JobNeed) -> float:
    by_input = MAX_SHARD_BYTES / max(need.line_bytes, 1.0)
    by_results = MAX_SHARD_ANSWER_BYTES / max(need.result_bytes, 1.0)
    return min(by_input, by_results, lines_within_bytes(load, need) - need.open_at(load.name))
