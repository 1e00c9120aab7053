"""Projects the final cost of a running job from its finished lines (pure)."""

import math
from dataclasses import dataclass

from jobs.records import Job

__all__ = ["Projection", "enough_finished", "project", "scaled_cost", "sufficient_cap"]

FEWEST_LINES = 20
FEWEST_SHARE = 0.01
"""Finished lines, or their share of the job, from which on a projection is worth showing; one of the two is enough."""
MARGIN = 1.1
"""How much more than projected a cap should allow for."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A job's totals if the rest is like what is finished. `cost` is in USD: None where no price is known, and a lower bound
    where `at_least`, as some lines have no known price."""

    cost: float | None
    at_least: bool
    prompt_tokens: int
    completion_tokens: int


def project(job: Job) -> Projection | None:
    """Return the projection of a job under way; None while too little is finished, and for one that is ending or has ended."""
    finished = job.ledger.completed + job.ledger.failed
    if job.is_final or job.ending or not enough_finished(finished, job.ledger.total):
        return None
    scale = job.ledger.total / finished
    cost, is_bound = scaled_cost(job)
    return Projection(
        cost=cost,
        at_least=is_bound,
        prompt_tokens=round(job.tokens.prompt * scale),
        completion_tokens=round(job.tokens.completion * scale),
    )


def scaled_cost(job: Job) -> tuple[float | None, bool]:
    """Return what a job costs in all (USD; None where no price is known) if the rest is like what is finished, however little
    that is; and whether it is a lower bound."""
    finished = job.ledger.completed + job.ledger.failed
    if not finished or job.unpriced >= finished:
        return None, job.unpriced > 0
    return job.cost * (job.ledger.total / finished), job.unpriced > 0


def enough_finished(finished: int, total: int) -> bool:
    """Whether the finished lines say something about the whole."""
    return finished > 0 and (finished >= FEWEST_LINES or finished >= FEWEST_SHARE * total)


def sufficient_cap(job: Job) -> float:
    """Return a cap in USD (two digits that count, rounded up) that lets a job go on: a tenth more than what it is projected to
    cost, or twice what it has cost while nothing can be projected."""
    projection = project(job)
    expected = projection.cost * MARGIN if projection and projection.cost else 0.0
    wanted = expected if expected > job.cost else 2 * max(job.cost, job.max_cost or 0.0)
    if wanted <= 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(wanted)) - 1)
    return float(f"{math.ceil(wanted / unit) * unit:.2g}")
