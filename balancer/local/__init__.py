"""What the balancer knows when there is no Redis, or when Redis is away: the same things, for this process alone."""

from balancer.local.health import LocalHealth
from balancer.local.pacing import LocalPacer
from balancer.local.slots import LocalSlots

__all__ = ["LocalHealth", "LocalPacer", "LocalSlots"]
