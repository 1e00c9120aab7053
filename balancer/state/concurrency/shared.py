"""Limits that all processes learn together through Redis."""

from dataclasses import asdict, fields

import orjson

from balancer.state import keys
from balancer.state.concurrency.law import LimitedBy, LimitState, Sample
from balancer.state.concurrency.learned_limits import ASK_ENGINE_EVERY, PERIOD, Turn
from balancer.state.concurrency.observed import Counts
from balancer.state.scripts import Scripts

__all__ = ["RedisLimitStore", "read_limit", "write_limit"]

KEPT = 30 * 86400
"""Seconds after which what was learned of an endpoint that is not used any more is forgotten."""


class RedisLimitStore:
    """Sums up what the processes report; the one whose report makes a sample whole decides. All methods raise RedisError."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def read(self, endpoint: str) -> LimitState | None:
        """Return what is known, None before the first decision."""
        found = await self._scripts.redis.hget(keys.limit(endpoint), "state")
        return read_limit(found) if found else None

    async def observe(self, endpoint: str, counts: Counts, first: LimitState) -> Turn:
        """Report."""
        args = (
            counts.version, f"{counts.flying:.6f}", counts.finished, f"{counts.work:.6f}", f"{counts.busy:.6f}", counts.refused,
            counts.chats, int(PERIOD * 1000), int(ASK_ENGINE_EVERY * 1000), KEPT,
        )  # fmt: skip
        state, revision, whole, *sums, ask = await self._scripts.run("observe", (keys.limit(endpoint),), args)
        known = read_limit(state) if state else first
        if not whole:
            return Turn(known, int(revision))
        seconds, flying, finished, work, busy, refused, chats = (float(each) for each in sums)
        sample = Sample(seconds, flying / seconds, round(finished), work, busy, round(refused), chats=round(chats))
        return Turn(known, int(revision), sample, bool(ask))

    async def decide(self, endpoint: str, revision: int, state: LimitState) -> bool:
        """Write a decision, unless another process has decided meanwhile."""
        args = (revision, write_limit(state), state.version, state.limit, KEPT)
        return bool(await self._scripts.run("decide", (keys.limit(endpoint),), args))


_FIELDS = frozenset(field.name for field in fields(LimitState))


def write_limit(state: LimitState) -> bytes:
    """Return a state as it is kept in Redis (JSON)."""
    return orjson.dumps(asdict(state))


def read_limit(kept: bytes) -> LimitState:
    """Read a state back. Fields that this version does not know are left out; those that it misses have their defaults."""
    known = {name: value for name, value in orjson.loads(kept).items() if name in _FIELDS}
    return LimitState(**{**known, "limited_by": LimitedBy(known["limited_by"]), "seen": Sample(**known["seen"])})
