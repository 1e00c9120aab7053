"""The attempts of a line: stored while it waits for its next attempt, and part of its error line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from balancer.outcome import NO_USAGE, Usage
from balancer.runtime.record import record

__all__ = ["NO_HISTORY", "FailedAttempt", "LineHistory"]

MOST_KEPT = 8
"""Failed attempts of a line that are kept: the latest."""
LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One request for a line that failed: the endpoint, when (seconds since the epoch), and why."""

    endpoint: str
    at: float
    code: str
    message: str


@record(frozen=True, slots=True)
class LineHistory:
    """`attempts` counts the requests sent for a line, `failed` are the latest of those that failed. `passes` counts the passes
    over the fleet that the line has failed by what may be its own fault. `usage` and `cost` (USD; None if a price is not known)
    are those of answers that were rejected by the job's checks."""

    passes: int = 0
    attempts: int = 0
    failed: tuple[FailedAttempt, ...] = ()
    usage: Usage = NO_USAGE
    cost: float | None = 0.0

    def with_failed(self, endpoint: str, at: float, code: str, message: str) -> "LineHistory":
        """Add a request that failed, which `attempts` counts already."""
        last = FailedAttempt(endpoint, round(at, 3), code, message[:LONGEST_MESSAGE])
        return replace(self, failed=(*self.failed[1 - MOST_KEPT :], last))

    def to_fields(self) -> dict[str, Any]:
        """Return the fields of an error line."""
        last = self.failed[-1].endpoint if self.failed else None
        return {"endpoint": last, "attempts": self.attempts, "failed_attempts": [asdict(each) for each in self.failed]}

    def to_json(self) -> bytes:
        """Return it as it is kept in Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_json(cls, raw: bytes) -> "LineHistory":
        """Read what `to_json` has made."""
        kept: Mapping[str, Any] = orjson.loads(raw)
        failed = tuple(FailedAttempt(**each) for each in kept["failed"])
        return cls(kept["passes"], kept["attempts"], failed, Usage(**kept.get("usage", {})), kept.get("cost", 0.0))


NO_HISTORY = LineHistory()
