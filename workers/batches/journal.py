"""What is known of a shard's batches at their provider: kept in Redis before and after each step, so that a worker which takes
the shard over hands nothing in twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

__all__ = ["Batch", "BatchStep", "read_journal", "write_journal"]


class BatchStep(StrEnum):
    """How far a batch has come for certain."""

    NEW = "new"
    """Nothing of it is at the provider, but perhaps a file, which costs nothing."""
    UPLOADED = "uploaded"
    """Its requests are uploaded, where the provider has files, and it has not been created."""
    CREATING = "creating"
    """It may have been created: it has to be looked for before it is created again."""
    CREATED = "created"
    """It has been created, and its id is known."""
    READ = "read"
    """It has ended, and its results are recorded but for failures, which are read again when all batches of the shard have
    ended."""


@dataclass(slots=True)
class Batch:
    """One batch: all lines of a shard, not finished yet, that are for one `model` and one `path` at the provider.

    The ids of its requests begin with `token`, by which it is found again. Times are in seconds since the epoch: `since` is when
    it was begun, `tried_at` when it was last tried to create it. `file` and `id` are the provider's; `not_ours` are batches that
    were taken for it and are not."""

    token: str
    model: str
    path: str
    since: float
    step: BatchStep = BatchStep.NEW
    tried_at: float = 0.0
    file: str = ""
    id: str = ""
    not_ours: tuple[str, ...] = ()

    def request_id(self, number: int) -> str:
        """Return the id of a line's request within the batch."""
        return f"{self.token}-{number}"


def write_journal(batches: Sequence[Batch]) -> bytes:
    """Return batches as they are kept in Redis."""
    return orjson.dumps(list(batches))


def read_journal(kept: bytes) -> list[Batch]:
    """Read what `write_journal` has made."""
    entries: list[dict[str, Any]] = orjson.loads(kept)
    return [Batch(**{**entry, "step": BatchStep(entry["step"]), "not_ours": tuple(entry["not_ours"])}) for entry in entries]
