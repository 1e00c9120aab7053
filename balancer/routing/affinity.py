"""Prefix affinity: requests with the same prompt prefix prefer the same endpoint, for its prefix cache (pure).

Weighted rendezvous hashing (Thaler and Ravishankar 1998; Schindelhauer and Schomaker 2005) with bounded loads (Mirrokni, Thorup
and Zadimoghaddam 2018): every process comes to the same endpoint without asking another, and one that comes or goes moves only
the prefixes that were, or will be, its own.
"""

import math
from collections.abc import Sequence
from zlib import crc32

from balancer.routing.strategy import Candidate

__all__ = ["keeper"]

LOAD_FACTOR = 1.25
"""How much more than its share of the requests in flight an endpoint may have because of its prefixes."""
FREE_SHARE = 0.25
"""Share of an endpoint's slots up to which it has room for its prefixes in any case: it is not slower for that."""


def keeper(prefix: int, candidates: Sequence[Candidate], weights: Sequence[float]) -> str | None:
    """Return the preferred endpoint of a prefix, the next one if its load is at its bound; None if all are at theirs.

    `prefix` is a hash of 32 bits; `weights` are the candidates' shares of the requests, in any unit.
    """
    load, total = sum(c.in_flight for c in candidates) + 1, sum(weights)
    best, best_score = None, 0.0
    for candidate, weight in zip(candidates, weights, strict=True):
        most = max(FREE_SHARE * candidate.capacity, LOAD_FACTOR * load * weight / total)
        if candidate.in_flight + 1 <= max(1.0, min(most, candidate.capacity)):
            score = -weight / math.log(_uniform(prefix, candidate.name))
            if score > best_score:
                best, best_score = candidate.name, score
    return best


def _uniform(prefix: int, name: str) -> float:
    """Hash a prefix and an endpoint to a number in the open interval (0, 1)."""
    mixed = (crc32(name.encode()) ^ prefix) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 32
    mixed = mixed * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF
    return ((mixed >> 12) + 0.5) / (1 << 52)
