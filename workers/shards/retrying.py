"""Decides which failed lines of a shard are retried, and when (pure)."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from balancer.outcome import Failure, FailureKind
from balancer.routing import backoff

__all__ = ["LONGEST_COUNTDOWN", "RetryDecision", "RetryPolicy", "after_a_pass", "is_the_lines_fault"]

LONGEST_COUNTDOWN = 120.0
"""Seconds of a retry's countdown: waiting tasks sit in a worker's memory."""
_NOT_THE_LINES_FAULT = {
    FailureKind.CONNECTION,
    FailureKind.UNAVAILABLE,
    FailureKind.RATE_LIMIT,
    FailureKind.OVERLOADED,
    FailureKind.AUTHENTICATION,
    FailureKind.QUOTA,
}
"""Failures that say nothing about the request: they cost waiting, but no attempt. The job's window bounds them."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` passes over the fleet may fail a line; seconds between them grow from `first` to `longest`."""

    attempts: int = 5
    first: float = 0.5
    longest: float = 30.0
    longest_outage: float = 8.0
    """Seconds between looks at a fleet that is down as a whole."""


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What becomes of a shard's failed lines, by their numbers: those to be given up, and those that wait `countdown` seconds,
    each with the passes that it has failed by its own fault."""

    given_up: frozenset[int]
    waiting: Mapping[int, int]
    countdown: float = 0.0


def is_the_lines_fault(failure: Failure) -> bool:
    """Whether a failure says something about the request, so that it counts as an attempt."""
    return failure.kind not in _NOT_THE_LINES_FAULT


def after_a_pass(
    failures: Mapping[int, Failure], passes: Mapping[int, int], waits: int, policy: RetryPolicy, rng: random.Random
) -> RetryDecision:
    """Decide on lines that failed everywhere, each on its own.

    `passes` counts what each line has failed before by its own fault, `waits` all the times the shard has waited (the exponent of
    the backoff).
    """
    now = {number: passes.get(number, 0) + is_the_lines_fault(failure) for number, failure in failures.items()}
    given_up = frozenset(n for n, failure in failures.items() if is_the_lines_fault(failure) and now[n] >= policy.attempts)
    waiting = {number: failure for number, failure in failures.items() if number not in given_up}
    blamed = any(is_the_lines_fault(failure) for failure in waiting.values())
    longest = policy.longest if blamed else policy.longest_outage
    asked = max((failure.retry_after or 0.0 for failure in waiting.values()), default=0.0)
    countdown = max(min(asked, LONGEST_COUNTDOWN), backoff(waits, policy.first, longest, rng))
    return RetryDecision(given_up, {number: now[number] for number in waiting}, countdown)
