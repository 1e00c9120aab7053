"""Plans the shards that are handed in as provider batches, and computes until when a job has time for them (pure).

A batch costs half and may take a day. A job of the class `batch` has its lines in batches for all of its window. One of the class
`cheapest` has them there as long as there is time left to send what is not finished one by one: twice what that takes at the
measured pace, and a third of the window at least (half an hour, if that is less).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from balancer.usage.price_class import PriceClass
from jobs.dispatch.planning import Planned, cut
from jobs.dispatch.sizing import MAX_SHARD, MAX_SHARD_BYTES, JobNeed
from jobs.records import as_batch

__all__ = ["BatchLoad", "batches_end", "pace_of", "plan_batches"]

MOST_SHARDS = 64
"""Shards of an endpoint that may be with its provider at once: bounds what Redis holds of them."""
LEAST_RESERVE = 1800.0
"""Seconds before a job's deadline from which on its lines are not in batches any more, or a third of its window."""
SAFETY = 2.0
"""Times the seconds that the rest of a job takes, line by line, that are kept for it."""
USUAL_LATENCY = 10.0
"""Seconds that an answer is taken to need where none has been measured."""


@dataclass(frozen=True, slots=True)
class BatchLoad:
    """What an endpoint has been given as batches. `largest` is what a batch may have (bytes), `queued_tokens` how many tokens may
    be with the provider (None: any number), of which `tokens` are."""

    name: str
    largest: int
    open_lines: int = 0
    open_shards: int = 0
    tokens: float = 0.0
    queued_tokens: int | None = None

    def given(self, lines: int, tokens: float) -> "BatchLoad":
        """Return it with one more shard."""
        shards = self.open_shards + 1
        return replace(self, open_lines=self.open_lines + lines, open_shards=shards, tokens=self.tokens + tokens)

    def has_room(self, tokens: float) -> bool:
        """Whether it may be given a line of so many tokens; one that has nothing may be given any."""
        if self.open_shards >= MOST_SHARDS:
            return False
        return not self.open_shards or self.queued_tokens is None or self.tokens + tokens <= self.queued_tokens


def plan_batches(
    needs: Sequence[JobNeed], loads: Iterable[BatchLoad], bytes_of_a_token: float
) -> tuple[list[Planned], list[JobNeed]]:
    """Cut shards for batches, at the endpoint with the fewest lines of those that serve a job, and return them with what the jobs
    need then. Jobs of a higher priority go first."""
    state = {load.name: load for load in loads}
    shards: list[Planned] = []
    rest = list(needs)
    for index in sorted(range(len(rest)), key=lambda i: -rest[i].priority):
        need, tokens = rest[index], max(1.0, rest[index].line_bytes / bytes_of_a_token)
        while need.remaining > 0 and need.allowed >= 1 and (load := _choose(need, state, tokens)):
            shard, need = cut(need, as_batch(load.name), _size(need, load, tokens))
            lines = shard.end - shard.first
            shards.append(shard)
            state[load.name] = load.given(lines, lines * tokens)
        rest[index] = need
    return shards, rest


def _choose(need: JobNeed, state: Mapping[str, BatchLoad], tokens: float) -> BatchLoad | None:
    free = [state[name] for name in sorted(need.batches_at) if name in state and state[name].has_room(tokens)]
    return min(free, key=lambda load: load.open_lines, default=None)


def _size(need: JobNeed, load: BatchLoad, tokens: float) -> int:
    left = math.inf if load.queued_tokens is None else (load.queued_tokens - load.tokens) / tokens
    by_bytes = min(MAX_SHARD_BYTES, load.largest / 2) / max(1.0, need.line_bytes)
    return max(1, int(min(MAX_SHARD, by_bytes, left, need.allowed, need.total - need.cursor)))


def pace_of(loads: Iterable[tuple[int, float | None]]) -> float:
    """Return the lines a second that endpoints get done, of each one's limit of requests in flight and latency (s)."""
    return sum(limit / (latency or USUAL_LATENCY) for limit, latency in loads)


def batches_end(price_class: str, expires_at: float, window: float, lines: int, pace: float) -> float:
    """Return until when (s since the epoch) a job's lines may be in batches, 0 if they may not at all. `lines` are those that are
    not finished, `pace` is how many of them a second can be sent one by one; times are in seconds."""
    if price_class == PriceClass.BATCH:
        return expires_at
    if price_class != PriceClass.CHEAPEST:
        return 0.0
    needed = SAFETY * lines / pace if pace else window / 2
    return expires_at - max(min(LEAST_RESERVE, window / 3), min(needed, window / 2))
