"""Records finished lines in Redis in groups."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from redis.exceptions import ResponseError

from balancer.runtime.periodic import Periodic
from jobs.dispatch.lease_table import FinishedLine, Order, ShardTable
from jobs.records import Shard
from jobs.results.formats import error_line

__all__ = ["Recorder"]

GROUP_SECONDS = 0.1
"""How long a finished line waits for company; with the round trip, a crash repeats at most a quarter of a second."""
GROUP_LINES = 256
"""Lines that end the wait."""
GROUP_BYTES = 8 * 1024 * 1024
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)


class Owner(Protocol):
    """The receiver of orders about a shard."""

    shard: Shard

    def identity(self, line: FinishedLine) -> tuple[int, str]:
        """Return a finished line's number in the input, and its `custom_id`."""

    def correct(self, line: FinishedLine) -> None:
        """Take another result for a finished line."""

    def stop(self) -> None:
        """The job is stopped or paused: begin no more lines of it."""

    def lose(self) -> None:
        """The shard belongs to another worker now."""


Groups = Mapping[Owner, list[FinishedLine]]


class Recorder:
    """Takes finished lines of all running shards. `start` before, `aclose` after."""

    def __init__(self, shards: ShardTable) -> None:
        self._shards = shards
        self._waiting: dict[Owner, list[FinishedLine]] = {}
        self._count = 0
        self._bytes = 0
        self._flushed = asyncio.Condition()
        self._in_flight: set[Owner] = set()
        self._flushing = Periodic(
            self._flush_waiting,
            lambda: GROUP_SECONDS,
            "recorder",
            _not_yet,
            RETRY_SECONDS,
            stop_on_unexpected_error=True,
        )

    def start(self) -> "asyncio.Task[None]":
        """Begin to record, and return the task that does, which ends only by `aclose` or by an unexpected error."""
        return self._flushing.start()

    async def aclose(self) -> None:
        """Stop. What should be kept has been waited for with `wait_until_recorded`."""
        await self._flushing.aclose()

    def add(self, owner: Owner, line: FinishedLine) -> None:
        """Take a finished line; it is in Redis within a fraction of a second."""
        self._waiting.setdefault(owner, []).append(line)
        self._count += 1
        self._bytes += len(line.result)
        if self._count >= GROUP_LINES or self._bytes >= GROUP_BYTES:
            self._flushing.wake()

    async def wait_until_recorded(self, owner: Owner) -> None:
        """Wait until every line of `owner` is in Redis."""
        async with self._flushed:
            while owner in self._waiting or owner in self._in_flight:
                self._flushing.wake()
                await self._flushed.wait()

    def forget(self, owner: Owner) -> None:
        """Drop the lines of a shard that is lost."""
        self._waiting.pop(owner, None)
        self._flushing.wake()

    async def _flush_waiting(self) -> None:
        if self._waiting:
            await self._flush()
        else:
            await self._notify_flushed()

    async def _flush(self) -> None:
        groups, self._waiting = self._waiting, {}
        self._count = self._bytes = 0
        self._in_flight = set(groups)
        left = dict(groups)
        try:
            for batch in _batches(groups):
                for owner, order in (await self._record(batch)).items():
                    del left[owner]
                    if order is Order.LOST:
                        owner.lose()
                    elif order is Order.STOP:
                        owner.stop()
        finally:
            for owner, lines in left.items():
                self._waiting[owner] = lines + self._waiting.get(owner, [])
            self._in_flight = set()
            await self._notify_flushed()

    async def _record(self, groups: Groups) -> dict[Owner, Order]:
        """Record groups in one round trip. If Redis refuses something in it, each group goes by itself, and each line of a group
        that is refused; a line that is refused becomes an error line."""
        try:
            orders = await self._shards.record([(owner.shard, lines) for owner, lines in groups.items()])
            return dict(zip(groups, orders, strict=True))
        except ResponseError as exc:
            if len(groups) == 1:
                return {owner: await self._record_apart(owner, lines, exc) for owner, lines in groups.items()}
        apart = [await self._record({owner: lines}) for owner, lines in groups.items()]
        return {owner: order for found in apart for owner, order in found.items()}

    async def _record_apart(self, owner: Owner, lines: list[FinishedLine], error: ResponseError) -> Order:
        if len(lines) > 1:
            return [(await self._record({owner: [line]}))[owner] for line in lines][-1]
        line = lines[0]
        log.error("the result of line %d of %s can't be recorded: %s", line.number + 1, owner.shard.job_id, error)
        message = f"the answer of {len(line.result):,} bytes can't be recorded"
        result = error_line(owner.shard.job_id, *owner.identity(line), "unrecordable", message)
        refused = replace(line, result=result, failed=True)
        owner.correct(refused)
        return (await self._shards.record([(owner.shard, [refused])]))[0]

    async def _notify_flushed(self) -> None:
        async with self._flushed:
            self._flushed.notify_all()


def _batches(groups: Groups) -> Iterator[dict[Owner, list[FinishedLine]]]:
    """Divide groups into round trips of about GROUP_BYTES, so that none makes Redis hold many large answers at once."""
    batch: dict[Owner, list[FinishedLine]] = {}
    size = 0
    for owner, lines in groups.items():
        batch[owner] = lines
        size += sum(len(line.result) for line in lines)
        if size >= GROUP_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _not_yet(error: Exception) -> None:
    log.warning("finished lines can't be recorded yet: %s", error)
