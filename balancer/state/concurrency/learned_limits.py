"""The limits of all endpoints, as one process sees and learns them."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from balancer.endpoint import AutoConcurrency, Endpoint
from balancer.outcome import Outcome
from balancer.runtime.periodic import Periodic
from balancer.state.concurrency.law import FILLED, LimitedBy, LimitState, Sample, next_limit
from balancer.state.concurrency.observed import Counts, Observed, is_refusal

__all__ = ["PERIOD", "LearnedLimits", "Limit", "LimitStore", "Turn"]

PERIOD = 0.5
"""Seconds between two samples. Refusals are reported immediately."""
ASK_ENGINE_EVERY = 2.0
"""Seconds between asking an engine how much waits inside it."""
READ_EVERY = 2.0
"""Seconds between reading the limit of an endpoint at which nothing is in flight from here."""
STALE_AFTER = 3 * ASK_ENGINE_EVERY
"""Seconds after which an engine's earlier report is not compared with its latest one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests an endpoint is given at once; `limited_by` says what has set a limit that finds itself, None for one that
    is configured. `filled`: the limit is what bounds the requests in flight."""

    value: int
    limited_by: LimitedBy | None = None
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What a store answers to a report: the limit as all know it and, for the one whose turn it is to decide, the sample."""

    state: LimitState
    revision: int
    sample: Sample | None = None
    ask_engine: bool = False


class EngineLoad(Protocol):
    """What an engine says of itself, None where it does not."""

    @property
    def waiting(self) -> float | None: ...
    @property
    def preemptions(self) -> float | None: ...
    @property
    def memory(self) -> float | None: ...


class AskEngine(Protocol):
    """Reads what the engine of an endpoint says of itself. Only where the limit `is_bound`, which is where it decides on the
    throughput, is it worth a request to find out whether there is an engine that does."""

    async def __call__(self, endpoint: str, /, *, is_bound: bool) -> EngineLoad: ...


class LimitStore(Protocol):
    """Where limits are kept. Methods may raise RedisError."""

    async def read(self, endpoint: str) -> LimitState | None: ...
    async def observe(self, endpoint: str, counts: Counts, first: LimitState) -> Turn: ...
    async def decide(self, endpoint: str, revision: int, state: LimitState) -> bool: ...


class LearnedLimits:
    """Reports samples, decides when it is this process's turn, and resizes the slots. Use on one event loop.

    `ask_engine` reads the load that an endpoint reports; None leaves it out. `on_limit` is called with each new limit.
    """

    def __init__(
        self, store: LimitStore, endpoints: Iterable[Endpoint], on_limit: Callable[[str, int], None], interactive: bool = False
    ) -> None:
        """`interactive`: people wait for the requests of this process."""
        self._store = store
        self._interactive = interactive
        self._on_limit = on_limit
        self.ask_engine: AskEngine | None = None
        self._fixed: dict[str, Limit] = {}
        self._auto: dict[str, _Auto] = {}
        self._exchanging = Periodic(self._exchange, PERIOD, "limits", self._failed, 0.5, 0.002)
        for endpoint in endpoints:
            self.add(endpoint)

    def add(self, endpoint: Endpoint) -> None:
        """Begin to limit an endpoint."""
        limit = endpoint.max_concurrency
        if isinstance(limit, AutoConcurrency):
            self._auto[endpoint.name] = _Auto(LimitState(min(limit.start, limit.max)), limit.max)
        else:
            self._fixed[endpoint.name] = Limit(limit)

    def remove(self, endpoint: str) -> None:
        """Forget an endpoint."""
        self._fixed.pop(endpoint, None)
        self._auto.pop(endpoint, None)

    def __getitem__(self, endpoint: str) -> Limit:
        fixed = self._fixed.get(endpoint)
        if fixed is not None:
            return fixed
        state = self._auto[endpoint].state
        return Limit(state.limit, state.limited_by, state.filled)

    def start(self) -> None:
        """Begin to learn."""
        self._exchanging.start()

    async def aclose(self) -> None:
        """Stop."""
        await self._exchanging.aclose()

    async def refresh(self) -> None:
        """Read what has been learned by others, or before. Raises RedisError."""
        for name, auto in list(self._auto.items()):
            await self._read(name, auto)

    async def _read(self, name: str, auto: "_Auto") -> None:
        state = await self._store.read(name)
        if state is not None:
            self._set(name, auto, state)

    def begin(self, endpoint: str) -> int:
        """Count a request that is being sent; return the version of the limit, for `end`."""
        auto = self._auto.get(endpoint)
        if auto is None:
            return 0
        auto.observed.begin()
        auto.is_new = True
        return auto.state.version

    def end(self, endpoint: str, version: int, outcome: Outcome | None) -> bool:
        """Count a request that has ended; None if it was aborted. Return whether it was one too many for the endpoint: the limit
        learns from that."""
        auto = self._auto.get(endpoint)
        if auto is None:
            return False
        auto.observed.end(version, outcome)
        too_many = outcome is not None and is_refusal(outcome) and auto.state.limit > 1
        if too_many and version == auto.state.version:
            self._exchanging.wake()
        return too_many

    async def _exchange(self) -> None:
        for name, auto in list(self._auto.items()):
            now = time.monotonic()
            if auto.observed.in_flight or auto.is_new:
                auto.is_new, auto.read_at = auto.observed.in_flight > 0, now
                await self._report(name, auto)
            elif now - auto.read_at >= READ_EVERY:
                auto.read_at = now
                await self._read(name, auto)

    async def _report(self, name: str, auto: "_Auto") -> None:
        counts = auto.observed.take(auto.state.version)
        counts.chats = int(self._interactive and counts.flying > 0)
        turn = await self._store.observe(name, counts, auto.state)
        state = turn.state
        if turn.sample is not None:
            sample = await self._with_engine(name, auto, turn) if turn.ask_engine else turn.sample
            decided = next_limit(state, sample, auto.most)
            if await self._store.decide(name, turn.revision, decided):
                state = decided
        self._set(name, auto, state)

    async def _with_engine(self, name: str, auto: "_Auto", turn: Turn) -> Sample:
        """Add what the engine says of itself. What waits there counts the second time, under whatever limit the first time was:
        some always do for a moment. Preemptions are those under one limit."""
        assert turn.sample is not None
        if self.ask_engine is None:
            return turn.sample
        is_bound = turn.sample.in_flight >= FILLED * turn.state.limit
        load, now = await self.ask_engine(name, is_bound=is_bound), time.monotonic()
        (waited, preemptions), at, version = auto.engine
        auto.engine = ((load.waiting, load.preemptions), now, turn.state.version)
        if now - at > STALE_AFTER:
            return turn.sample
        waiting = None if load.waiting is None or waited is None else min(load.waiting, waited)
        rise = 0.0
        if load.preemptions is not None and preemptions is not None and version == turn.state.version:
            rise = load.preemptions - preemptions
        return replace(turn.sample, waiting=waiting, preempted=max(0, round(rise)), memory=load.memory)

    def _set(self, name: str, auto: "_Auto", state: LimitState) -> None:
        if self._auto.get(name) is not auto:
            return
        if state.limit != auto.state.limit:
            log.debug("%s: limit %d -> %d (%s)", name, auto.state.limit, state.limit, state.limited_by)
        auto.state = state
        auto.observed.change_version(state.version)
        self._on_limit(name, min(state.limit, auto.most))

    def _failed(self, error: Exception) -> None:
        log.debug("limits: Redis is unavailable (%s); they stay as they are", error)


class _Auto:
    """An endpoint whose limit finds itself."""

    def __init__(self, state: LimitState, most: int) -> None:
        self.state = state
        self.most = most
        self.observed = Observed()
        self.is_new = False
        """Whether there is something to report."""
        self.read_at = 0.0
        self.engine: tuple[tuple[float | None, float | None], float, int] = ((None, None), 0.0, 0)
        """The latest report of the engine (waiting, preemptions), when, and under which version of the limit."""
