"""The state that all connections of one simulated server share."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from api_roadbalancer.mock.behaviour import Behaviour
from api_roadbalancer.mock.counters import InFlight, Totals
from api_roadbalancer.mock.prefix_cache import PrefixCache
from api_roadbalancer.mock.ratelimit import TokenBucket

__all__ = ["Simulation"]


ANY_MODEL = "*"


class Simulation:
    def __init__(self, behaviour: Behaviour, rng: random.Random | None = None) -> None:
        self.behaviour = behaviour
        self.rng = rng or random.Random()
        self.tally = Totals()
        self.in_flight = InFlight()
        self.prefixes = PrefixCache()
        self.bucket = TokenBucket(behaviour.rate_limit)
        self.next_number = itertools.count(1).__next__
        self.hanging: dict[int, Callable[[], None]] = {}  # by request number: how to answer it after all

    def change(self, behaviour: Behaviour) -> None:
        """From now on; hanging requests are answered, or hang on, as the new behaviour has it."""
        self.behaviour = behaviour
        if behaviour.rate_limit != self.bucket.per_minute:
            self.bucket = TokenBucket(behaviour.rate_limit)
        hanging, self.hanging = self.hanging, {}
        for answer in hanging.values():
            answer()

    def reset(self) -> None:
        """Zeroes the counts. Requests in flight stay in flight, but count in no later total."""
        self.tally = Totals()
        self.in_flight.reset()

    def serves(self, model: str) -> bool:
        return ANY_MODEL in self.behaviour.models or model in self.behaviour.models

    def default_model(self) -> str:
        return next((name for name in self.behaviour.models if name != ANY_MODEL), "simulated")
