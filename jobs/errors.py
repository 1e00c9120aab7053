"""Errors of bulk jobs.

JobError
├── NotFound        no such job or file
├── InvalidRequest  what was asked can't be done; `param` names the field, `code` the kind
├── CapReached      a job that rests at the cap on its cost
├── NotReady        results that are not there yet
├── QueueUnavailable the broker of the shards' queues can't be reached
├── ShardIncomplete recorded lines of a shard are gone (Redis has lost its last second)
└── LedgerBroken    inputs != completed + failed + cancelled + expired: a bug, never hidden
"""

__all__ = [
    "CapReached",
    "InvalidRequest",
    "JobError",
    "LedgerBroken",
    "NotFound",
    "NotReady",
    "QueueUnavailable",
    "ShardIncomplete",
]


class JobError(Exception):
    """Base of every error that this package raises."""


class NotFound(JobError):
    """There is no such `kind` (job, file) with this id."""

    def __init__(self, kind: str, identifier: str) -> None:
        self.kind = kind
        self.identifier = identifier
        super().__init__(f"there is no {kind} with the id {identifier!r}")


class InvalidRequest(JobError):
    """What was asked can't be done as it was asked."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        self.param = param
        self.code = code
        super().__init__(message)


class CapReached(JobError):
    """A job has spent what it may, and rests."""


class NotReady(JobError):
    """The results that were asked for are not there yet."""


class LedgerBroken(JobError):
    """A job's lines do not add up."""


class QueueUnavailable(JobError):
    """The broker of the shards' queues can't be reached."""


class ShardIncomplete(JobError):
    """A shard was to be closed, but Redis has `recorded` of its `lines` only; the missing ones must be sent again."""

    def __init__(self, shard: str, recorded: int, lines: int) -> None:
        self.recorded = recorded
        self.lines = lines
        super().__init__(f"shard {shard} was to be closed with {recorded} of {lines} lines")
