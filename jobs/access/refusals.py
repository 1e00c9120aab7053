"""Errors of API keys.

JobError
├── KeyNameTaken   another key has this name
├── NoSuchKey      no key has this id or name
└── Refused        a caller may not do this, or not now
"""

from collections.abc import Mapping
from enum import StrEnum

from jobs.errors import JobError

__all__ = ["KeyNameTaken", "NoSuchKey", "Refusal", "Refused"]


class Refusal(StrEnum):
    """Why a caller is refused."""

    MODEL = "model"
    """The key is not for this model; asking again changes nothing."""
    REQUESTS = "requests"
    """More requests a minute than the key may send."""
    TOKENS = "tokens"
    """More tokens a minute than the key may use."""
    PARALLEL = "parallel"
    """More requests at once than the key may have."""
    PRIORITY = "priority"
    """A job of a higher priority than the key's may have."""
    JOBS = "jobs"
    """More unfinished jobs than the key may have."""
    STORAGE = "storage"
    """More files, or bytes, than the key may store; asking again helps when some are deleted."""
    BUDGET = "budget"
    """The key has spent what it may; asking again helps in the next day or month only."""


class Refused(JobError):
    """`retry_after` is in seconds, None where waiting does not help; `headers` tell the rates (`x-ratelimit-…`)."""

    def __init__(
        self, kind: Refusal, message: str, retry_after: float | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self.message = message
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        super().__init__(message)


class KeyNameTaken(JobError):
    """A key that is not revoked has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"there is a key named {name!r} already; revoke it first, or take another name")


class NoSuchKey(JobError):
    """There is no such key, or it is revoked already."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        super().__init__(f"no key in use has the id or the name {wanted!r}; `roadbalancer keys list` shows them")
