"""What to cut next, for whom, and how large: pure functions over a snapshot.

An endpoint is given no more lines than its credit: what it can have in flight, plus what it gets done in `CREDIT_SECONDS` at its
measured pace. Everything else stays with the job, where health, pauses, priorities and fairness can still change its course.
The credit is cut into a few shards, so that all worker processes share the work, and these shrink near the end of the job
(guided self-scheduling, Polychronopoulos and Kuck 1987), so that the last ones end together.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from balancer.strategy import BalancingStrategy, Candidate, pick

__all__ = ["EndpointLoad", "JobNeed", "Plan", "Planned", "credit", "plan", "shard_size"]

CREDIT_SECONDS = 4.0
"""Work that an endpoint holds beyond what is in flight."""
LEAST_SECONDS = 0.05
"""Work below which a smaller shard gains nothing at the end of a job: handing it over takes some milliseconds."""
MAX_SHARD = 2000
"""Lines: bounds what a shard holds in memory and in Redis."""
MAX_SHARD_BYTES = 64 * 1024 * 1024
"""Bytes of input, by the job's average line."""
MIN_SHARDS = 4
"""Shards that an endpoint's credit is cut into at least; two for each worker process, if that is more."""
MAX_PARTS = 100_000
"""Parts that a job has at most, by and large: bounds what has to be listed to read its results."""
SLOWER_COUNTS = 1.5
"""How many times slower than the fastest an endpoint is before it counts for less; below, it is taken for noise."""
STALLED_AFTER = 2.0
"""Seconds without a finished line (or three times the usual latency, if that is more) after which others may go ahead."""


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


@dataclass(frozen=True, slots=True)
class JobNeed:
    """A job that wants lines cut. `returned` are ranges (first, end, attempt) that came back and go first; `endpoints` serve
    it; `line_bytes` is its average line."""

    job_id: str
    cursor: int
    total: int
    returned: tuple[tuple[int, int, int], ...] = ()
    endpoints: frozenset[str] = frozenset()
    line_bytes: float = 1000.0

    @property
    def remaining(self) -> int:
        """Lines that nobody has."""
        return self.total - self.cursor + sum(end - first for first, end, _ in self.returned)


@dataclass(frozen=True, slots=True)
class Planned:
    """A shard to be cut. `came_back` tells a returned range from a new one."""

    job_id: str
    first: int
    end: int
    endpoint: str
    attempt: int = 0
    came_back: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Shards to cut, and the turns that the strategy goes on with."""

    shards: tuple[Planned, ...] = ()
    turns: dict[str, float] = field(default_factory=dict)


def plan(
    strategy: BalancingStrategy,
    needs: Sequence[JobNeed],
    loads: Iterable[EndpointLoad],
    turns: Mapping[str, float],
    workers: int = 1,
    most: int = 64,
) -> Plan:
    """Plan up to `most` shards. `needs` come in the order of their turns and take one shard each, round after round."""
    state = {load.name: load for load in loads}
    waiting = list(needs)
    shards: list[Planned] = []
    now_turns = dict(turns)
    while waiting and len(shards) < most:
        left: list[JobNeed] = []
        for need in waiting:
            endpoint = _choose(strategy, need, state, now_turns)
            if endpoint is None or len(shards) >= most:
                continue
            shard, need = _cut(need, state[endpoint], state.values(), workers)
            shards.append(shard)
            now_turns = _advance(strategy, need, state, now_turns, endpoint, shard.end - shard.first)
            load = state[endpoint]
            state[endpoint] = replace(
                load, open_lines=load.open_lines + shard.end - shard.first, open_shards=load.open_shards + 1
            )
            if need.remaining > 0:
                left.append(need)
        waiting = left
    return Plan(tuple(shards), now_turns)


def credit(load: EndpointLoad, remaining: int, fleet_pace: float) -> int:
    """Return how many lines an endpoint may have open while `remaining` more are to be given out.

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


def shard_size(load: EndpointLoad, need: JobNeed, fleet_pace: float, workers: int = 1) -> int:
    """Return how many lines the next shard of `need` for `load` has, with `workers` processes to share the work."""
    shards = max(MIN_SHARDS, 2 * workers)
    allowed = credit(load, need.remaining, fleet_pace)
    share = load.pace / fleet_pace if fleet_pace and load.pace else 1.0
    guided = math.ceil(need.remaining * share / (2 * shards))
    smallest = max(1, load.max_concurrency // (2 * shards), int(load.pace * LEAST_SECONDS), need.total // MAX_PARTS)
    wanted = max(math.ceil(allowed / shards), smallest)
    by_bytes = int(MAX_SHARD_BYTES / max(need.line_bytes, 1.0))
    room = max(allowed - load.open_lines, smallest)
    return max(1, min(max(guided, smallest), wanted, MAX_SHARD, by_bytes, need.remaining, room))


def _choose(
    strategy: BalancingStrategy, need: JobNeed, state: Mapping[str, EndpointLoad], turns: Mapping[str, float]
) -> str | None:
    serving = [load for load in state.values() if load.name in need.endpoints]
    tier = _first_tier(serving)
    if not tier:
        return None
    fleet_pace = _fleet_pace(tier)
    free = [load for load in tier if load.open_lines < credit(load, need.remaining, fleet_pace)]
    if strategy is BalancingStrategy.WEIGHTED and len({load.weight for load in tier}) > 1:
        # Shares are kept by line: whoever is behind is waited for, as long as it is getting on with its work. (With equal
        # weights there is nothing to wait for: each takes what it can.)
        in_turn = [load for load in tier if load in free or not _stalled(load)]
        if not in_turn:
            return None
        chosen = pick(strategy, _candidates(strategy, in_turn, fleet_pace, need), turns).name
        return chosen if any(load.name == chosen for load in free) else None
    if not free:
        return None
    return pick(strategy, _candidates(strategy, free, fleet_pace, need), turns).name


def _advance(
    strategy: BalancingStrategy,
    need: JobNeed,
    state: Mapping[str, EndpointLoad],
    turns: Mapping[str, float],
    endpoint: str,
    lines: int,
) -> dict[str, float]:
    """Return the turns after `endpoint` took `lines`; nobody is owed more than a shard or two."""
    tier = _first_tier([load for load in state.values() if load.name in need.endpoints])
    candidates = _candidates(strategy, tier, _fleet_pace(tier), need)
    total = sum(c.weight for c in candidates)
    after = dict(turns)
    for c in candidates:
        after[c.name] = after.get(c.name, 0.0) + lines * c.weight / total
    after[endpoint] -= lines
    bound = 2.0 * MAX_SHARD
    return {name: min(bound, max(-bound, turn)) for name, turn in after.items()}


def _first_tier(loads: Sequence[EndpointLoad]) -> list[EndpointLoad]:
    first = min((load.priority for load in loads), default=0)
    return [load for load in loads if load.priority == first]


def _fleet_pace(loads: Iterable[EndpointLoad]) -> float:
    paces = [load.pace for load in loads]
    return sum(paces) if all(paces) else 0.0


def _stalled(load: EndpointLoad) -> bool:
    return load.idle_for > max(STALLED_AFTER, 3 * (load.latency or 0.0))


def _candidates(strategy: BalancingStrategy, loads: Sequence[EndpointLoad], fleet_pace: float, need: JobNeed) -> list[Candidate]:
    fastest = min((load.latency for load in loads if load.latency), default=0.0)
    found = []
    for load in loads:
        slower = (load.latency or fastest) / fastest if fastest else 1.0
        weight = load.weight if strategy is BalancingStrategy.WEIGHTED else 1.0
        found.append(
            Candidate(load.name, weight / slower if slower > SLOWER_COUNTS else weight, load.open_lines, load.max_concurrency)
        )
    return found


def _cut(need: JobNeed, load: EndpointLoad, fleet: Iterable[EndpointLoad], workers: int) -> tuple[Planned, JobNeed]:
    """Cut the next shard off a job: what came back first, as it was; else new lines."""
    if need.returned:
        first, end, attempt = need.returned[0]
        shard = Planned(need.job_id, first, end, load.name, attempt, came_back=True)
        return shard, replace(need, returned=need.returned[1:])
    tier = _first_tier([other for other in fleet if other.name in need.endpoints])
    size = shard_size(load, need, _fleet_pace(tier), workers)
    shard = Planned(need.job_id, need.cursor, need.cursor + size, load.name)
    return shard, replace(need, cursor=need.cursor + size)
