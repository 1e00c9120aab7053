"""A fake provider with a batch API: batches take time, fail in part, expire, are cancelled, and their answers may be lost.

Also as a program: `python -m tests.fake_providers.batch_server PROVIDER PORT SECONDS`.
"""

import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fake_providers.base import FakeProvider, ReceivedRequest, Refused, Reply, Script
from tests.fake_providers.batch_dialects import DIALECTS, BatchDialect
from tests.fake_providers.server import Answering, ProviderServer

__all__ = ["BatchServer", "FakeBatch"]


@dataclass
class FakeBatch:
    """One batch. `requests` are (custom id, path, headers, body); times are in seconds since the epoch."""

    id: str
    requests: list[tuple[str, str, dict[str, str], bytes]]
    created_at: float
    ends_at: float
    about: dict[str, Any] = field(default_factory=dict)
    """What its creator said of it, in the dialect's own terms."""
    refused: tuple[str, str] | None = None
    """The code and the message of the error for which it is refused as a whole."""
    cancelled_at: float | None = None
    expired: bool = False
    replies: dict[str, Reply | None] = field(default_factory=dict)
    """By custom id, once it has ended; None for what was not processed."""

    @property
    def ended(self) -> bool:
        return time.time() >= self.ends_at

    def done(self) -> int:
        """How many requests are processed, at an even pace."""
        if self.refused:
            return 0
        until = min(time.time(), self.cancelled_at or self.ends_at)
        share = (until - self.created_at) / max(1e-9, self.about["seconds"])
        return min(len(self.requests), int(share * len(self.requests)))


class BatchServer(ProviderServer):
    """Answers single requests like its base, and batches `seconds` after they were created, or what `seconds_for` says for one of
    so many requests.

    `expires_after` ends a batch earlier, with what is done by then. `refuse` says why a batch is refused as a whole, `skips` are
    the custom ids whose results are left out, `loses` is how many answers to the creation of a batch are lost. `cancelling` is
    how long a cancelled batch goes on (s). Never more than `queued` requests are in all batches."""

    def __init__(
        self,
        fake: FakeProvider,
        answer: Script | Reply | Answering = Script(),  # noqa: B008
        port: int = 0,
        seconds: float = 0.2,
        expires_after: float | None = None,
    ) -> None:
        super().__init__(fake, answer, port)
        self.dialect: BatchDialect = DIALECTS[fake.provider](self)
        self.seconds = seconds
        self.expires_after = expires_after
        self.seconds_for: Callable[[int], float] = lambda requests: self.seconds
        self.cancelling = 0.0
        self.queued: int | None = None
        self.loses = 0
        self.skips: Callable[[str], bool] = lambda custom_id: False
        self.refuse: Callable[[FakeBatch], tuple[str, str] | None] = lambda batch: None
        self.batches: dict[str, FakeBatch] = {}
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._place = threading.local()

    def new_id(self, kind: str) -> str:
        """Return another id."""
        return f"{kind}{next(self._numbers)}"

    def submissions(self) -> Counter[str]:
        """Return how often each line (the part of a custom id that is not the token) stands in a batch that was accepted."""
        with self._lock:
            lines = (custom_id for batch in self.batches.values() if not batch.refused for custom_id, *_ in batch.requests)
            return Counter(custom_id.rpartition("-")[2] for custom_id in lines)

    def create(self, batch_id: str, requests: list[tuple[str, str, dict[str, str], bytes]], **about: Any) -> FakeBatch:
        """Accept a batch, or refuse it as a whole."""
        self.files.setdefault(f"requests of {batch_id}", b"")  # where there are no files, they come with the creation
        now = time.time()
        seconds = self.seconds_for(len(requests))
        batch = FakeBatch(batch_id, requests, now, now + seconds, {**about, "seconds": seconds})
        if self.expires_after is not None and self.expires_after < seconds:
            batch.ends_at, batch.expired = now + self.expires_after, True
        open_now = sum(len(each.requests) for each in self.batches.values() if not each.ended)
        if self.queued is not None and open_now + len(requests) > self.queued:
            batch.refused = ("token_limit_exceeded", "Enqueued token limit reached")
        batch.refused = batch.refused or self.refuse(batch)
        if batch.refused:
            batch.ends_at = now
        self.batches[batch_id] = batch
        return batch

    def finish(self) -> None:
        """Have all batches end now."""
        with self._lock:
            for batch in self.batches.values():
                batch.ends_at = min(batch.ends_at, time.time())
                batch.about["seconds"] = min(batch.about["seconds"], batch.ends_at - batch.created_at)

    def cancel(self, batch: FakeBatch) -> None:
        """Have a batch end soon."""
        if not batch.ended and batch.cancelled_at is None:
            batch.cancelled_at = time.time()
            batch.ends_at = batch.cancelled_at + self.cancelling

    def results(self, batch: FakeBatch) -> dict[str, Reply | None]:
        """Return the answers of a batch that has ended; None for requests that were not processed."""
        if not batch.replies:
            done = batch.done() if batch.expired or batch.cancelled_at else len(batch.requests)
            for index, (custom_id, path, headers, body) in enumerate(batch.requests):
                batch.replies[custom_id] = self._reply(path, headers, body) if index < done else None
        return {custom_id: reply for custom_id, reply in batch.replies.items() if not self.skips(custom_id)}

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        self._place.in_batch = True
        try:
            reply = super().reply_to(path, headers, body)
        finally:
            self._place.in_batch = False
        assert isinstance(reply, Reply), "no streams in batches"
        return reply

    @property
    def in_batch(self) -> bool:
        """Whether the request that is being answered stands in a batch."""
        return getattr(self._place, "in_batch", False)

    def reply_to(self, path: str, headers: dict[str, str], body: bytes) -> "Reply | tuple[Script, ReceivedRequest]":
        with self._lock:
            before = len(self.batches)
            try:
                reply = self.dialect.post(path, headers, body)
            except Refused as exc:
                self.refused.append(str(exc))
                return self.fake.refuse(str(exc))
            if reply is not None and len(self.batches) > before and self.loses:
                self.loses -= 1
                return Reply(0, b"")
        return super().reply_to(path, headers, body) if reply is None else reply

    def get(self, path: str, headers: dict[str, str]) -> Reply:
        with self._lock:
            return self.dialect.get(path, headers) or super().get(path, headers)

    def delete(self, path: str, headers: dict[str, str]) -> Reply:
        with self._lock:
            self.deleted.append(path)
            return self.dialect.delete(path, headers)


def main() -> None:
    """Serve until the process is ended; print the address."""
    from tests.fake_providers import FAKE_PROVIDERS

    server = BatchServer(FAKE_PROVIDERS[sys.argv[1]], port=int(sys.argv[2]), seconds=float(sys.argv[3]))
    with server:
        print(server.address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
