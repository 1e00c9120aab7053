"""States of jobs (as OpenAI's API names them) and shards, and reasons for a pause."""

from enum import StrEnum

__all__ = ["FINAL", "JobStatus", "PauseReason", "ShardState"]


class JobStatus(StrEnum):
    """Where a job is on its way."""

    FAILED = "failed"
    """Refused as a whole; `errors` says why. Nothing was sent."""
    IN_PROGRESS = "in_progress"
    """Lines are being sent."""
    FINALIZING = "finalizing"
    """Every line is done; the output is being put together."""
    COMPLETED = "completed"
    """Every line is in the output or in the error file."""
    EXPIRED = "expired"
    """Its time ran out; what was finished is kept, the rest stands in the error file."""
    CANCELLING = "cancelling"
    """Being stopped: lines in flight may still finish."""
    CANCELLED = "cancelled"
    """Stopped; what was finished is kept, the rest stands in the error file."""


FINAL = frozenset({JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.EXPIRED, JobStatus.CANCELLED})


class PauseReason(StrEnum):
    """Why no lines of a job in progress are begun for now."""

    HELD = "held"
    """Someone has paused it."""
    MAX_COST = "max_cost"
    """What it has cost has reached its cap; a higher cap lets it go on."""
    CANARY = "canary"
    """The lines of its canary have come to their end; it goes on when that is confirmed."""
    KEY_BUDGET = "key_budget"
    """What its key has spent has reached the key's budget; it goes on when the day or the month (UTC) is over."""
    KEY_REVOKED = "key_revoked"
    """Its key has been revoked."""


class ShardState(StrEnum):
    """Whether a shard is waiting for a worker or has one."""

    QUEUED = "queued"
    RUNNING = "running"
