"""Limits of concurrency that find themselves: the law (`law`, pure), what one process sees, and where the limit is kept.

`local` keeps it for one process, `shared` in Redis (`observe.lua`, `decide.lua`), so that all processes learn one limit together.
"""

from balancer.state.concurrency.law import LimitedBy, LimitState
from balancer.state.concurrency.learned_limits import LearnedLimits, Limit

__all__ = ["LearnedLimits", "Limit", "LimitState", "LimitedBy"]
