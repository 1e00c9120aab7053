"""What people read of a job: its state, its cost, what it will have cost, and how to go on with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from api_roadbalancer.cli.run_request import RunRequest, default_out, how_to_go_on
from api_roadbalancer.progress import dollars, how_it_is_sent, job_line, limited_by, money, spent
from balancer.state.concurrency import Limit, LimitedBy
from balancer.state.health import Health
from jobs.monitoring.overview import EndpointState
from jobs.records import BACKGROUND, Job, Ledger, Tokens
from jobs.records.states import JobStatus, PauseReason

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
CAPPED = replace(JOB, max_cost=1.5, paused=PauseReason.MAX_COST)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(5.0, "$5.00"), (0.5, "$0.50"), (0.125, "$0.125"), (0.000001, "$0.000001"), (1234.5, "$1,234.50"), (0.1 + 0.2, "$0.30")],
)
def test_an_amount_has_cents_and_what_further_decimals_it_needs(amount: float, text: str) -> None:
    assert dollars(amount) == text


@pytest.mark.parametrize(
    ("job", "long", "short"),
    [
        (JOB, "cost $2.0000", "$2.0000"),
        (CAPPED, "cost $2.0000 (cap $1.50)", "$2.0000"),
        # some lines have no price
        (replace(JOB, unpriced=3), "cost $2.0000 + 3 lines without a price", "≥ $2.0000"),
        # none has: not nothing, but unknown
        (replace(JOB, unpriced=100, cost=0.0), "cost unknown (no price configured)", "unknown"),
        # free
        (replace(JOB, cost=0.0), "cost $0.0000", "$0.0000"),
    ],
)
def test_a_cost_that_is_not_known_is_never_shown_as_nothing(job: Job, long: str, short: str) -> None:
    assert (money(job), spent(job)) == (long, short)


@pytest.mark.parametrize(
    ("job", "rate", "line"),
    [
        (
            JOB,
            10.0,
            "in_progress · 90 done · 10 failed · 10.0 lines/s · ETA 1 min 30 s · tokens 500 in, 250 out · cost $2.0000"
            " · in all about 5,000 in, 2,500 out, $20.00",
        ),
        # paused: no rate and no end in sight
        (
            CAPPED,
            0.0,
            "paused (max_cost) · 90 done · 10 failed · tokens 500 in, 250 out · cost $2.0000 (cap $1.50)"
            " · in all about 5,000 in, 2,500 out, $20.00",
        ),
        # too early for a projection
        (
            replace(JOB, ledger=Ledger(1000, 5, 0), tokens=Tokens(25, 5), cost=0.01),
            None,
            "in_progress · 5 done · 0 failed · tokens 25 in, 5 out · cost $0.0100",
        ),
        # small amounts, some unpriced: so much at least
        (
            replace(JOB, cost=0.01, unpriced=1),
            None,
            "in_progress · 90 done · 10 failed · tokens 500 in, 250 out · cost $0.0100 + 1 lines without a price"
            " · in all about 5,000 in, 2,500 out, ≥ $0.1000",
        ),
        (
            replace(JOB, cost=0.0, unpriced=100),
            None,
            "in_progress · 90 done · 10 failed · tokens 500 in, 250 out · cost unknown (no price configured)"
            " · in all about 5,000 in, 2,500 out, cost unknown",
        ),
        # nothing to project any more
        (
            replace(JOB, status=JobStatus.COMPLETED, ledger=Ledger(100, 90, 10)),
            None,
            "completed · 90 done · 10 failed · tokens 500 in, 250 out · cost $2.0000",
        ),
    ],
)
def test_a_job_in_one_line(job: Job, rate: float | None, line: str) -> None:
    assert job_line(job, rate) == line


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (JOB, ""),
        (replace(JOB, groups_prefixes=True, ordered=True), "prompts that begin alike go together, for the endpoints' caches"),
        (replace(JOB, is_urgent=True), "short of time, so it goes before its equals"),
        (
            replace(JOB, priority=BACKGROUND, hedged=1),
            "takes only what no other job wants (background) · 1 line sent to a second endpoint, as the first was late",
        ),
        (replace(JOB, hedged=1200), "1,200 lines sent to a second endpoint, as the first was late"),
        (replace(JOB, hedged=12, status=JobStatus.COMPLETED), ""),
    ],
)
def test_what_is_done_for_a_job_is_said_in_words(job: Job, words: str) -> None:
    assert how_it_is_sent(job) == words


@pytest.mark.parametrize(
    ("order", "command"),
    [
        (RunRequest(Path("in.jsonl"), Path("in.results.jsonl"), "24h", 1, None, None), "roadbalancer run in.jsonl --max-cost 22"),
        (
            RunRequest(Path("my in.jsonl"), Path("out.jsonl"), "24h", 1, Path("fleet.yaml"), 1.5),
            "roadbalancer run 'my in.jsonl' -o out.jsonl --config fleet.yaml --max-cost 22",
        ),
    ],
)
def test_a_job_at_its_cap_names_the_command_that_goes_on(order: RunRequest, command: str) -> None:
    lines = how_to_go_on(order, CAPPED).splitlines()
    assert lines[0] == "paused     the cap of $1.50 is reached; 100 of 1,000 lines are done and kept"
    assert lines[2] == f"go on      {command}"
    assert lines[3].startswith("so far     roadbalancer results batch_00000000")


def test_results_go_beside_the_input() -> None:
    assert default_out(Path("a/in.jsonl")) == Path("a/in.results.jsonl")


@pytest.mark.parametrize(
    ("in_flight", "limit", "text"),
    [
        (0, Limit(32, LimitedBy.START), "no work"),
        (10, Limit(32, LimitedBy.THROUGHPUT), "work sent"),
        (32, Limit(32, LimitedBy.START), "start (learning)"),
        (30, Limit(32, LimitedBy.THROUGHPUT), "endpoint: throughput"),
        (8, Limit(8, LimitedBy.REFUSALS), "endpoint: refuses more"),
        (8, Limit(8, LimitedBy.ENGINE), "endpoint: its queue"),
        (1024, Limit(1024, LimitedBy.BOUND), "max of auto"),
        (64, Limit(64), "max_concurrency"),
    ],
)
def test_what_bounds_the_requests_in_flight_is_said_in_words(in_flight: int, limit: Limit, text: str) -> None:
    assert limited_by(EndpointState("e", Health(), in_flight, limit, open_lines=0, queued=0)) == text
