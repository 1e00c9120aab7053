"""Where a request goes, and where it goes next when that fails. Pure: nothing here waits, sends or remembers."""

from balancer.routing.attempts import Attempts, Target
from balancer.routing.failover import PATIENCE, FailoverRules, GiveUp, Go, Option, Wait, backoff, decide
from balancer.routing.strategy import BalancingStrategy, Candidate, Pick, pick

__all__ = [
    "PATIENCE",
    "Attempts",
    "BalancingStrategy",
    "Candidate",
    "FailoverRules",
    "GiveUp",
    "Go",
    "Option",
    "Pick",
    "Target",
    "Wait",
    "backoff",
    "decide",
    "pick",
]
