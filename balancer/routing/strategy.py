"""Balancing strategies: how the next endpoint is picked (pure)."""

import random
from collections.abc import Mapping, Sequence
from enum import StrEnum

from balancer.runtime.record import record

__all__ = ["BalancingStrategy", "Candidate", "Pick", "pick", "shares"]


DIGITS = 6
"""Decimals of a turn that count: thirds don't add up to one, and equals must go in their order all the same."""


class BalancingStrategy(StrEnum):
    """The four ways to spread requests."""

    ROUND_ROBIN = "round_robin"
    """Each in its turn."""
    WEIGHTED = "weighted"
    """In proportion to the weights, interleaved."""
    LEAST_CONNECTIONS = "least_connections"
    """The one with the fewest requests in flight for its size."""
    RANDOM = "random"
    """Any of them."""


@record(frozen=True, slots=True)
class Candidate:
    """An endpoint that could take the next work. `in_flight` counts what it already has, `capacity` what it may have."""

    name: str
    weight: float
    in_flight: float
    capacity: int


@record(frozen=True, slots=True)
class Pick:
    """The chosen endpoint, and the turns (see `pick`) to go on with."""

    name: str
    turns: dict[str, float]


def pick(
    strategy: BalancingStrategy,
    candidates: Sequence[Candidate],
    turns: Mapping[str, float],
    cost: float = 1.0,
    rng: random.Random | None = None,
) -> Pick:
    """Choose one of `candidates` for work of `cost` requests.

    `turns` is the memory of the taking turns: the smooth weighted round robin of nginx
    (ngx_http_upstream_round_robin.c), generalised from one request to `cost` of them. Every candidate earns
    `cost * weight / total weight`, the one with the most pays `cost`; so the turns add up to zero and shares follow the
    weights to within one pick. Raises ValueError without candidates.
    """
    if not candidates:
        raise ValueError("there is no endpoint to pick from")
    weights = _weights(strategy, candidates)
    earned = _earn(weights, turns, cost)
    match strategy:
        case BalancingStrategy.LEAST_CONNECTIONS:
            chosen = min(candidates, key=lambda c: (c.in_flight / c.capacity, -round(earned[c.name], DIGITS))).name
        case BalancingStrategy.RANDOM:
            chosen = (rng or random).choice(candidates).name
        case _:
            chosen = max(weights, key=lambda name: round(earned[name], DIGITS))
    earned[chosen] -= cost
    return Pick(chosen, earned)


def shares(strategy: BalancingStrategy, candidates: Sequence[Candidate]) -> list[float]:
    """Return what share of many requests each candidate should have, in any unit; nothing for a strategy that says where each
    single one goes."""
    match strategy:
        case BalancingStrategy.WEIGHTED:
            return [candidate.weight for candidate in candidates]
        case BalancingStrategy.LEAST_CONNECTIONS:
            return [float(candidate.capacity) for candidate in candidates]
        case _:
            return []


def _weights(strategy: BalancingStrategy, candidates: Sequence[Candidate]) -> dict[str, float]:
    weighted = strategy is BalancingStrategy.WEIGHTED
    return {c.name: c.weight if weighted else 1.0 for c in candidates}


def _earn(weights: Mapping[str, float], turns: Mapping[str, float], cost: float) -> dict[str, float]:
    total = sum(weights.values())
    earned = dict(turns)
    for name, weight in weights.items():
        earned[name] = earned.get(name, 0.0) + cost * weight / total
    return earned
