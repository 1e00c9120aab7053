"""Plans the next shards: which job, which endpoint, how many lines (pure).

Jobs of a higher priority go first, among equals those that are short of time (see `deadlines`), and then the job that has the
fewest lines open (max-min fairness), at the endpoint where it has fewest. An endpoint that has used up its credit (see `sizing`)
still takes up to `max_concurrency` lines of a job that holds less than its fair share of the credit, so that its backlog does not
delay others. A job with a cap on its cost, or whose key has rates, has no more lines open than it can likely pay, or send
soon.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from balancer.routing import BalancingStrategy, Candidate, pick
from jobs.dispatch.sizing import (
    MAX_SHARD,
    EndpointLoad,
    JobNeed,
    ReturnedRange,
    credit,
    least_worth,
    lines_within_bytes,
    shard_size,
)

__all__ = ["EndpointLoad", "JobNeed", "Plan", "Planned", "cut", "plan"]

SLOWER_COUNTS = 1.5
"""How many times slower than the fastest an endpoint is before it counts for less; below, it is taken for noise."""
STALLED_AFTER = 2.0
"""Seconds without a finished line (or three times the usual latency, if that is more) after which others may go ahead."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A shard to be cut. `came_back` tells a returned range from a new one."""

    job_id: str
    first: int
    end: int
    endpoint: str
    attempt: int = 0
    came_back: bool = False
    lost: int = 0
    blamed: int | None = None

    @property
    def returned(self) -> ReturnedRange:
        """The range that came back."""
        return ReturnedRange(self.first, self.end, self.attempt, self.lost, self.blamed)


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
    urgent: Collection[str] = (),
) -> Plan:
    """Plan up to `most` shards. Of `needs` that are equal in priority and open lines, the earlier goes first; `urgent` ones (see
    `deadlines`) go before their equals."""
    state = {load.name: load for load in loads}
    demand = _Demand(needs, urgent)
    waiting = dict(enumerate(needs))
    shards: list[Planned] = []
    now_turns = dict(turns)
    while waiting and len(shards) < most:
        index = min(waiting, key=lambda i: (*_turn(waiting[i], urgent), i))
        need = waiting.pop(index)
        if need.allowed < 1:
            continue
        endpoint = _choose(strategy, need, state, now_turns, workers, demand)
        if endpoint is None:
            continue
        shard, rest = cut(need, endpoint, _size(need, endpoint, state, workers, demand))
        lines = shard.end - shard.first
        shards.append(shard)
        now_turns = _advance(strategy, need, state, now_turns, endpoint, lines)
        state[endpoint] = state[endpoint].given(lines)
        demand.give(need, lines)
        if rest.remaining > 0:
            waiting[index] = rest
    return Plan(tuple(shards), now_turns)


class _Demand:
    """What all jobs want from each endpoint: lines that are not given out, and how many jobs want them."""

    def __init__(self, needs: Iterable[JobNeed], urgent: Collection[str]) -> None:
        self.lines: Counter[str] = Counter()
        self._urgent = urgent
        self._jobs: dict[str, Counter[tuple[int, bool]]] = {}
        for need in needs:
            for endpoint in need.endpoints:
                self.lines[endpoint] += need.remaining
                self._jobs.setdefault(endpoint, Counter())[self._rank(need)] += 1

    def _rank(self, need: JobNeed) -> tuple[int, bool]:
        return need.priority, need.job_id in self._urgent

    def give(self, need: JobNeed, lines: int) -> None:
        """Take in that `lines` of a job have been given out."""
        for endpoint in need.endpoints:
            self.lines[endpoint] -= lines

    def share(self, need: JobNeed, endpoint: str) -> float:
        """Return which part of an endpoint's credit is a job's fair share; none while one that goes before it wants it."""
        jobs, rank = self._jobs[endpoint], self._rank(need)
        return 1.0 / jobs[rank] if rank == max(jobs) else 0.0


def _turn(need: JobNeed, urgent: Collection[str]) -> tuple[int, float, int]:
    deadline = need.seconds_left if need.job_id in urgent else math.inf
    return -need.priority, deadline, min((need.open_at(endpoint) for endpoint in need.endpoints), default=0)


def _has_room(load: EndpointLoad, need: JobNeed, fleet_pace: float, workers: int, demand: _Demand) -> bool:
    own = need.open_at(load.name)
    if own >= lines_within_bytes(load, need):
        return False
    lines = demand.lines[load.name]
    allowed, worth = credit(load, lines, fleet_pace), least_worth(load, need, fleet_pace, workers, lines)
    if load.open_lines + worth <= allowed:
        return True
    beyond = load.open_lines < allowed + load.max_concurrency and not load.probing
    fair = allowed * demand.share(need, load.name)
    return beyond and own < fair and (own + worth <= fair or own <= fair / 2)


def _choose(
    strategy: BalancingStrategy,
    need: JobNeed,
    state: Mapping[str, EndpointLoad],
    turns: Mapping[str, float],
    workers: int,
    demand: _Demand,
) -> str | None:
    serving = [load for load in state.values() if load.name in need.endpoints]
    tier = _first_tier(serving)
    if not tier:
        return None
    fleet_pace = _fleet_pace(tier)
    free = [load for load in tier if _has_room(load, need, fleet_pace, workers, demand)]
    if strategy is BalancingStrategy.WEIGHTED and len({load.weight for load in tier}) > 1:
        # Shares are kept by line: an endpoint that is behind is waited for, as long as it makes progress. (With equal
        # weights there is nothing to wait for: each takes what it can.)
        in_turn = [load for load in tier if load in free or not _stalled(load)]
        if not in_turn:
            return None
        chosen = pick(strategy, _candidates(strategy, in_turn, fleet_pace, need), turns).name
        return chosen if any(load.name == chosen for load in free) else None
    if not free:
        return None
    return pick(strategy, _candidates(strategy, free, fleet_pace, need), turns).name


def _size(need: JobNeed, endpoint: str, state: Mapping[str, EndpointLoad], workers: int, demand: _Demand) -> int:
    tier = _first_tier([other for other in state.values() if other.name in need.endpoints])
    return shard_size(state[endpoint], need, _fleet_pace(tier), workers, demand.lines[endpoint])


def _advance(
    strategy: BalancingStrategy,
    need: JobNeed,
    state: Mapping[str, EndpointLoad],
    turns: Mapping[str, float],
    endpoint: str,
    lines: int,
) -> dict[str, float]:
    """Return the turns after `endpoint` took `lines`; no endpoint is owed more than a shard or two."""
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


def _fleet_pace(loads: Sequence[EndpointLoad]) -> float:
    """Return the lines per second of all endpoints; 0 while nothing is known. One that has not answered yet is taken to be as
    fast as the others: else the first that answers would be given what is theirs."""
    latencies = [load.latency for load in loads if load.latency]
    if not latencies:
        return 0.0
    usual = sum(latencies) / len(latencies)
    return sum(load.pace or load.max_concurrency / usual for load in loads)


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


def cut(need: JobNeed, endpoint: str, new_lines: int) -> tuple[Planned, JobNeed]:
    """Cut the next shard off a job, and return it with what the job needs then: what came back first, as it was; else new
    lines."""
    if need.returned:
        first, end, attempt, lost, blamed = need.returned[0]
        shard = Planned(need.job_id, first, end, endpoint, attempt, came_back=True, lost=lost, blamed=blamed)
        rest = replace(need, returned=need.returned[1:])
    else:
        shard = Planned(need.job_id, need.cursor, need.cursor + new_lines, endpoint)
        rest = replace(need, cursor=shard.end)
    return shard, rest.given(endpoint, shard.end - shard.first)
