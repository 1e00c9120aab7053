from dataclasses import replace

import pytest

from jobs.records import BadLine, Job, Ledger, Tokens
from jobs.records.states import JobStatus, PauseReason
from producer_api.files.wire import BatchObject
from producer_api.jobs.wire import JobList, JobObject

NOW = 1_000_010.0
JOB = Job(
    id="batch_00000000",
    status=JobStatus.IN_PROGRESS,
    input_file_id="file-00000000",
    path="/v1/chat/completions",
    window="24h",
    created_at=1_000_000,
    expires_at=1_086_400,
    ledger=Ledger(100, 0, 0),
    times={"in_progress_at": 1_000_000},
)


def ended(status: JobStatus, ledger: Ledger, at: int) -> Job:
    return replace(JOB, status=status, ledger=ledger, times=JOB.times | {f"{status}_at": at})


@pytest.mark.parametrize(
    ("job", "progress", "rate", "eta"),
    [
        # nothing is done yet: no rate, no end in sight
        (JOB, 0.0, None, None),
        # 20 lines in 10 s, failed ones count
        (replace(JOB, ledger=Ledger(100, 15, 5)), 0.2, 2.0, 40.0),
        # in the first second a rate is not better than a second's
        (replace(JOB, ledger=Ledger(100, 10, 0), times={"in_progress_at": 1_000_010}), 0.1, 10.0, 9.0),
        # stopped: the rest will not be done
        (replace(JOB, status=JobStatus.CANCELLING, ending="cancelled", ledger=Ledger(100, 20, 0)), 0.2, 2.0, None),
        # paused at its cap: when it goes on is not known
        (replace(JOB, paused=PauseReason.MAX_COST, max_cost=1.0, ledger=Ledger(100, 20, 0)), 0.2, 2.0, None),
        # every line done, being put together
        (replace(JOB, status=JobStatus.FINALIZING, ledger=Ledger(100, 100, 0)), 1.0, 10.0, 0.0),
        # ended: the rate is that of its own time
        (ended(JobStatus.COMPLETED, Ledger(100, 100, 0), 1_000_005), 1.0, 20.0, None),
        (ended(JobStatus.CANCELLED, Ledger(100, 10, 0, cancelled=90), 1_000_005), 1.0, 2.0, None),
        # refused as a whole
        (replace(JOB, status=JobStatus.FAILED, ledger=Ledger(0, 0, 0), times={"failed_at": 1_000_000}), 1.0, None, None),
        # an ended job whose record lacks the time
        (replace(JOB, status=JobStatus.COMPLETED, ledger=Ledger(10, 10, 0)), 1.0, 1.0, None),
    ],
)
def test_progress_rate_and_time_left(job: Job, progress: float, rate: float | None, eta: float | None) -> None:
    made = JobObject.of(job, NOW)
    assert (made.progress, made.rate, made.eta) == (progress, rate, eta)


def test_a_job_says_what_it_cost() -> None:
    made = JobObject.of(replace(JOB, tokens=Tokens(10, 5, 4, 2), cost=0.25, unpriced=3, shares={"one": 7}, hedged=2), NOW)
    assert made.tokens.model_dump() == {"input": 10, "cached": 4, "output": 5, "reasoning": 2, "total": 15}
    assert made.cost.model_dump() == {"usd": 0.25, "unpriced_lines": 3, "saved_by_cache": 0.0}
    assert (made.endpoints, made.hedged_lines) == ({"one": 7}, 2)


def test_a_paused_job_says_why_and_what_it_would_cost_in_all() -> None:
    times = JOB.times | {"paused_at": 1_000_005}
    job = replace(JOB, ledger=Ledger(100, 20, 5), cost=1.0, max_cost=0.99, paused=PauseReason.MAX_COST, times=times)
    made = JobObject.of(replace(job, tokens=Tokens(50, 25)), NOW).model_dump(mode="json")
    assert (made["status"], made["max_cost"]) == ("in_progress", 0.99)
    assert made["paused"] == {"reason": "max_cost", "since": 1_000_005}
    assert made["projection"] == {"usd": 4.0, "at_least": False, "input_tokens": 200, "output_tokens": 100}
    assert BatchObject.of(job).status == "in_progress"


@pytest.mark.parametrize(
    ("job", "usd", "at_least"),
    [
        # one line in twenty without a price: so much at least
        (replace(JOB, ledger=Ledger(100, 20, 0), cost=1.0, unpriced=1), 5.0, True),
        # none has a price: unknown, not nothing
        (replace(JOB, ledger=Ledger(100, 20, 0), unpriced=20), None, True),
    ],
)
def test_what_is_not_known_of_the_cost_is_said(job: Job, usd: float | None, at_least: bool) -> None:
    made = JobObject.of(job, NOW)
    assert made.projection is not None
    assert (made.projection.usd, made.projection.at_least) == (usd, at_least)


def test_nothing_is_projected_of_a_job_that_has_just_begun_or_has_ended() -> None:
    assert JobObject.of(JOB, NOW).projection is None
    assert JobObject.of(ended(JobStatus.COMPLETED, Ledger(100, 100, 0), 1_000_005), NOW).projection is None


def test_a_job_links_to_the_files_it_has() -> None:
    made = JobObject.of(replace(JOB, output_file_id="file-out"), NOW)
    assert made.links.output == "/v1/files/file-out/content"
    assert (made.links.errors, made.links.events) == (None, "/api/v1/jobs/batch_00000000/events")


def test_an_empty_list_begins_and_ends_nowhere() -> None:
    assert JobList.of([], False).model_dump() == {
        "object": "list", "first_id": None, "last_id": None, "has_more": False, "data": [],
    }  # fmt: skip


@pytest.mark.parametrize(("models", "model"), [((), None), (("a",), "a"), (("a", "b"), None)])
def test_a_batch_names_its_model_if_there_is_one(models: tuple[str, ...], model: str | None) -> None:
    assert BatchObject.of(replace(JOB, models=models)).model == model


def test_a_batch_lists_the_errors_of_its_input() -> None:
    made = BatchObject.of(replace(JOB, errors=(BadLine("code", "message", 3, "body"), BadLine("other", "whole"))))
    assert made.errors is not None
    assert made.errors.model_dump() == {
        "object": "list",
        "data": [
            {"code": "code", "message": "message", "param": "body", "line": 3},
            {"code": "other", "message": "whole", "param": None, "line": None},
        ],
    }
