"""What a job will have cost in the end, as far as its finished lines tell."""

from dataclasses import replace

import pytest

from jobs.cost.projection import Projection, enough_finished, project, sufficient_cap
from jobs.records import Job, Ledger, Tokens
from jobs.records.states import JobStatus

JOB = Job(
    id="batch_00000000",
    status=JobStatus.IN_PROGRESS,
    input_file_id="file-00000000",
    path="/v1/chat/completions",
    window="24h",
    created_at=1_000_000,
    expires_at=1_086_400,
    ledger=Ledger(1000, 90, 10),
    tokens=Tokens(prompt=500, completion=250),
    cost=2.0,
)


@pytest.mark.parametrize(
    ("finished", "total", "enough"),
    [
        (0, 10, False),  # nothing at all
        (0, 0, False),  # no lines
        (1, 10, True),  # a tenth of a small job
        (9, 1000, False),  # less than one in a hundred, and few
        (10, 1000, True),  # one in a hundred
        (19, 1_000_000, False),
        (20, 1_000_000, True),  # few of many, but some
    ],
)
def test_a_projection_needs_some_finished_lines(finished: int, total: int, enough: bool) -> None:
    assert enough_finished(finished, total) is enough


@pytest.mark.parametrize(
    ("job", "projection"),
    [
        # a tenth is finished, failed lines among them
        (JOB, Projection(20.0, False, 5000, 2500)),
        # paused at its cap: still of interest
        (replace(JOB, max_cost=2.0), Projection(20.0, False, 5000, 2500)),
        # some lines have no price: at least so much
        (replace(JOB, unpriced=1), Projection(20.0, True, 5000, 2500)),
        # no line has one: not known
        (replace(JOB, unpriced=100, cost=0.0), Projection(None, True, 5000, 2500)),
        # what is free is known to be free
        (replace(JOB, cost=0.0), Projection(0.0, False, 5000, 2500)),
        # everything is finished
        (replace(JOB, ledger=Ledger(100, 100, 0)), Projection(2.0, False, 500, 250)),
        # too early
        (replace(JOB, ledger=Ledger(1000, 9, 0)), None),
        # the rest will not be done, or is done
        (replace(JOB, status=JobStatus.CANCELLING, ending="cancelled"), None),
        (replace(JOB, status=JobStatus.COMPLETED), None),
    ],
)
def test_the_rest_is_taken_to_be_like_what_is_finished(job: Job, projection: Projection | None) -> None:
    assert project(job) == projection


@pytest.mark.parametrize(
    ("job", "cap"),
    [
        (JOB, 22.0),  # a tenth more than 20
        (replace(JOB, cost=1.9), 21.0),  # 20.9, rounded up to two digits
        (replace(JOB, cost=0.0000012), 0.000014),  # tiny amounts have two digits too
        (replace(JOB, cost=123_456.0), 1_400_000.0),
        # nothing can be projected: twice what is spent, or the cap, if that is more
        (replace(JOB, ledger=Ledger(1000, 1, 0), cost=2.0, max_cost=2.5), 5.0),
        (replace(JOB, ledger=Ledger(1000, 1, 0), cost=3.0, max_cost=2.5), 6.0),
        (replace(JOB, ledger=Ledger(1000, 0, 0), cost=0.0), 1.0),
    ],
)
def test_a_cap_that_lets_a_job_go_on(job: Job, cap: float) -> None:
    assert sufficient_cap(job) == pytest.approx(cap)
    assert sufficient_cap(job) > job.cost
