"""A simulated endpoint and the clients that keep its limit filled, on a clock of their own."""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from balancer.state.concurrency.law import LimitState, Sample, next_limit

PERIOD = 0.5
"""Seconds between two samples."""
TICK = 0.02
WAVERS_EVERY = 0.25


@dataclass
class Plant:
    """Processor sharing: `knee` requests in flight are answered in `service` seconds each; more slow each other down, and with
    `decay` their throughput falls as well. With `sheds`, more than `knee` are refused instead."""

    knee: float
    service: float = 0.3
    decay: float = 0.0
    sheds: bool = False
    spread: float = 0.3
    """Half the width of the requests' sizes around 1."""
    now: float = 0.0
    done: float = 0.0
    refused: int = 0
    _progress: float = 0.0
    _running: list[tuple[float, int, float, float, int]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    seed: int = 7

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    def throughput(self, in_flight: float) -> float:
        """Return what is done a second with so many in flight."""
        over = max(1.0, in_flight / self.knee)
        return in_flight / (self.service * over ** (1 + self.decay))

    def send(self, version: int) -> bool:
        if self.sheds and self.in_flight >= self.knee:
            self.refused += 1
            return False
        size = self._random.uniform(1 - self.spread, 1 + self.spread)
        heapq.heappush(self._running, (self._progress + size, next(self._numbers), self.now, size, version))
        return True

    def advance(self, seconds: float) -> list[tuple[float, float, int]]:
        """Return the requests that end meanwhile: latency (s), size and version."""
        until, ended = self.now + seconds, []
        while self._running:
            speed = self.throughput(self.in_flight) / self.in_flight
            left = (self._running[0][0] - self._progress) / speed
            if self.now + left > until:
                self._progress += (until - self.now) * speed
                break
            self.now += left
            self._progress, _, began, size, version = heapq.heappop(self._running)
            self.done += size
            ended.append((self.now - began, size, version))
        self.now = until
        return ended


class LateAnswers(Plant):
    """How long a request takes is settled when it is sent: those in flight when the knee moves end as they would have before."""

    def send(self, version: int) -> bool:
        if self.sheds and self.in_flight >= self.knee:
            self.refused += 1
            return False
        size = self._random.uniform(1 - self.spread, 1 + self.spread)
        took = size * self.service * max(1.0, (self.in_flight + 1) / self.knee) ** (1 + self.decay)
        heapq.heappush(self._running, (self.now + took, next(self._numbers), self.now, size, version))
        return True

    def advance(self, seconds: float) -> list[tuple[float, float, int]]:
        until, ended = self.now + seconds, []
        while self._running and self._running[0][0] <= until:
            at, _, began, _, version = heapq.heappop(self._running)
            self.done += 1
            ended.append((at - began, 1.0, version))
        self.now = until
        return ended


@dataclass
class Unsteady(Plant):
    """More in flight brings ever less: half of `top` is done at `knee`. What it does wavers by `noise` (relative) within some two
    seconds, as where others use the same processors; at the same times by the same, whatever is in flight."""

    top: float = 12.5
    noise: float = 0.1
    _level: float = 0.0
    _wavered_at: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._levels = random.Random(self.seed)

    def throughput(self, in_flight: float) -> float:
        return self.top * in_flight / (in_flight + self.knee) * math.exp(self._level)

    def advance(self, seconds: float) -> list[tuple[float, float, int]]:
        while self._wavered_at <= self.now:
            self._wavered_at += WAVERS_EVERY
            kept = math.exp(-WAVERS_EVERY / 2)
            self._level = kept * self._level + math.sqrt(1 - kept**2) * self.noise * self._levels.gauss(0, 1)
        return super().advance(seconds)


@dataclass
class Closed:
    """Clients that always want more than the limit lets in flight."""

    plant: Plant
    state: LimitState = field(default_factory=lambda: LimitState(32))
    most: int = 1024
    law: Callable[[LimitState, Sample, int], LimitState] | None = next_limit
    """None keeps the limit as it is."""
    limits: list[tuple[float, int]] = field(default_factory=list)
    answered: int = 0

    def run(self, seconds: float) -> "Closed":
        plant, end = self.plant, self.plant.now + seconds
        since, sample = plant.now, Sample(0.0)
        while plant.now < end:
            refused = 0
            while plant.in_flight < self.state.limit and not refused:
                refused += not plant.send(self.state.version)
            flying = plant.in_flight + refused
            ended = plant.advance(TICK)
            self.answered += len(ended)
            mine = [(latency, size) for latency, size, version in ended if version == self.state.version]
            sample += Sample(TICK, flying, len(mine), sum(s for _, s in mine), sum(t for t, _ in mine), refused)
            if self.law is not None and (plant.now - since >= PERIOD or refused):
                self.state = self.law(self.state, sample, self.most)
                since, sample = plant.now, Sample(0.0)
                if not self.limits or self.limits[-1][1] != self.state.limit:
                    self.limits.append((round(plant.now, 2), self.state.limit))
        return self
