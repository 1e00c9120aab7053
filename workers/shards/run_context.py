"""What the runs of all shards of a process share, and how one ends."""

import asyncio
import random
from dataclasses import dataclass, field
from enum import Enum

from balancer.fleet.fleet import Fleet
from jobs.access.pacing import KeyPacer
from jobs.dispatch.lease_table import ShardTable
from jobs.records import Shard
from jobs.storage.object_store import ObjectStore
from workers.shards.hedging import Hedging
from workers.shards.recorder import Recorder
from workers.shards.retrying import RetryPolicy

__all__ = ["Ending", "RunContext", "ShardEnd"]


class Ending(Enum):
    """How a run of a shard ended."""

    COMMITTED = "committed"
    """Every line is terminal and the part is written."""
    LAST = "last"
    """The same, and it was the last one of its job."""
    RETRY = "retry"
    """Some lines failed everywhere and wait for another attempt."""
    RETURNED = "returned"
    """Stopped early and handed back."""
    LOST = "lost"
    """Another worker has it."""


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a run ended; for RETRY, the shard as it waits and for how many seconds."""

    ending: Ending
    waiting: Shard | None = None
    countdown: float = 0.0


@dataclass(frozen=True, slots=True)
class RunContext:
    """What all runs of a process share."""

    fleet: Fleet
    shards: ShardTable
    objects: ObjectStore
    recorder: Recorder
    policy: RetryPolicy
    rng: random.Random
    hedging: Hedging
    pacer: KeyPacer
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the line that runs alone."""
