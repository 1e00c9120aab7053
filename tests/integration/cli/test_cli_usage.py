"""`roadbalancer usage`: the table and the JSON, as a user sees them."""

import functools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
import redis as sync_redis
from click.testing import Result
from rich.console import Console

from api_roadbalancer.cli import usage
from api_roadbalancer.cli.usage import money
from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.state import keys
from balancer.usage.query import InvalidUsageQuery
from balancer.usage.tally import Row, Tally
from jobs.storage import keys as job_keys

TODAY = datetime.now(UTC).date()
GOOD = Outcome("one", 0.25, 200, usage=Usage(123_456, 7890, 40, 5), cost=1.25)
UNPRICED = Outcome("two", 2.0, 200, usage=Usage(7, 3))
BAD = Outcome("one", 1.0, failure=Failure(FailureKind.TIMEOUT, "slow"))

Run = Callable[..., Result]


@pytest.fixture
def run(command: Run) -> Run:
    return functools.partial(command, "usage")


def used(redis_url: str, day: date, row: Row, *outcomes: Outcome) -> None:
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    with sync_redis.Redis.from_url(redis_url) as client:
        client.hset(keys.usage(day.isoformat()), row.packed(), tally.packed())


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_table_has_a_line_for_each_sum_and_one_for_all(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", "alice"), GOOD, GOOD, BAD)
    used(redis_url, TODAY, Row("vllm", "llama[bold]\x1b[31m", "two", ""), UNPRICED)
    head, gpt, llama, total = run("--by", "model,key").stdout.splitlines()
    assert cells(head) == ["model", "key", "requests", "errors", "input", "cached", "output", "cost", "average", "p50", "p95"]
    assert cells(gpt)[:8] == ["gpt", "alice", "3", "1", "246,912", "80", "15,780", "$2.5000"]
    assert cells(gpt)[8] == "0.25 s"
    # A user's model name is shown as it is, and can tell the terminal nothing.
    assert cells(llama)[:8] == ["llama[bold]\N{REPLACEMENT CHARACTER}[31m", "-", "1", "0", "7", "0", "3", "unknown"]
    assert cells(total)[:7] == ["total", "4", "1", "246,919", "80", "15,783", "≥ $2.5000"]


def test_a_single_sum_needs_no_total_and_failures_have_no_latency(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", ""), BAD)
    _, row = run().stdout.splitlines()
    assert cells(row) == [TODAY.isoformat(), "1", "1", "0", "0", "0", "$0.0000", "-", "-", "-"]


def recorded(redis_url: str, key: str, prompt: int, completion: int, cost: float) -> None:
    fields = {f"{key}|prompt_tokens": prompt, f"{key}|completion_tokens": completion, f"{key}|cost_nano": round(cost * 1e9)}
    with sync_redis.Redis.from_url(redis_url) as client:
        client.hset(job_keys.recorded(TODAY.isoformat()), mapping=fields)


def test_accounts_that_agree_are_not_listed(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", "alice", "jobs"), GOOD, BAD)
    used(redis_url, TODAY, Row("openai", "gpt", "one", "alice"), GOOD)
    recorded(redis_url, "alice", 123_456, 7890, 1.25)
    found = run("--reconcile")
    assert (found.exit_code, found.stdout.partition(",")[0]) == (0, "all sums agree")


def test_what_differs_is_listed_by_day_and_key(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", "alice", "jobs", "flex"), GOOD, GOOD)
    used(redis_url, TODAY, Row("openai", "gpt", "one", "bob", "jobs"), GOOD)
    used(redis_url, TODAY, Row("openai", "gpt", "two", "bob", "hedges"), GOOD)
    recorded(redis_url, "alice", 123_456, 7890, 1.25)
    recorded(redis_url, "bob", 2 * 123_456, 2 * 7890, 2.5)
    with sync_redis.Redis.from_url(redis_url) as client:
        client.hset("rb:budgets:alice", "day", 10)
        client.set(f"rb:spent:alice:{TODAY}", 1_250_000_000)
    found = run("--reconcile")
    assert found.exit_code == 1
    _, requests, results, difference, *_ = found.stdout.splitlines()
    used_twice = [TODAY.isoformat(), "alice", "requests", "246,912", "15,780", "$2.500000", "$2.500000", "$1.250000"]
    assert cells(requests) == used_twice
    assert cells(results) == ["results", "123,456", "7,890", "$1.250000"]
    assert cells(difference) == ["difference", "+123,456", "+7,890", "+$1.250000", "+$1.250000"]
    assert "bob" not in found.stdout
    assert "1 further days of keys agree" in found.stdout
    days = json.loads(run("--reconcile", "--json").stdout)
    assert [(day["key"], day["differs"]) for day in days] == [("alice", True), ("bob", False)]
    assert days[0]["results"] == {"prompt": 123_456, "completion": 7890, "cost": 1.25}


def test_costs_of_hedges_are_added_to_the_nanodollar(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", "", "jobs"), Outcome("one", 0.25, 200, usage=Usage(1, 1), cost=0.1))
    used(redis_url, TODAY, Row("openai", "gpt", "two", "", "hedges"), Outcome("two", 0.25, 200, usage=Usage(1, 1), cost=0.2))
    recorded(redis_url, "", 2, 2, 0.3)
    assert 0.1 + 0.2 != 0.3
    assert run("--reconcile").exit_code == 0


def test_a_span_without_usage_has_nothing_to_reconcile(run: Run) -> None:
    found = run("--reconcile", "--from", "2026-01-01", "--to", "2026-01-02")
    assert (found.exit_code, found.stdout) == (0, "")


def test_sums_by_source_and_tier(run: Run, redis_url: str) -> None:
    used(redis_url, TODAY, Row("openai", "gpt", "one", "", "jobs", "batch"), GOOD)
    used(redis_url, TODAY, Row("openai", "gpt", "one", ""), GOOD, GOOD)
    _, chats, jobs, _ = run("--by", "source,tier").stdout.splitlines()
    assert (cells(chats)[:3], cells(jobs)[:3]) == (["-", "-", "2"], ["jobs", "batch", "1"])


def test_nothing_is_cut_off_however_narrow_the_terminal(run: Run, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "wide_console", lambda: Console(width=20))
    model = "org/" + "long" * 49
    used(redis_url, TODAY, Row("openai", model, "one", "alice"), GOOD)
    _, row = run("--by", "model").stdout.splitlines()
    assert cells(row)[:7] == [model, "1", "0", "123,456", "40", "7,890", "$1.2500"]


def test_the_json_is_that_of_the_api(run: Run, redis_url: str) -> None:
    used(redis_url, date(2026, 2, 1), Row("openai", "gpt", "one", "alice"), GOOD)
    used(redis_url, date(2026, 2, 3), Row("openai", "gpt", "one", "alice"), GOOD)
    found = json.loads(run("--from", "2026-02-01", "--to", "2026-02-02", "--by", "endpoint", "--json").stdout)
    assert (found["first_day"], found["last_day"], found["by"]) == ("2026-02-01", "2026-02-02", ["endpoint"])
    assert [(row["endpoint"], row["cost"]) for row in found["data"]] == [("one", 1.25)]


def test_nothing_used_is_said(run: Run) -> None:
    result = run("--from", "2026-02-01", "--to", "2026-02-02")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing was used from 2026-02-01 to 2026-02-02\n"


def test_bad_questions_are_refused(run: Run) -> None:
    refused = run("--from", "yesterday").exception
    assert isinstance(refused, InvalidUsageQuery)
    assert str(refused) == "from: 'yesterday' is no day; write one as YYYY-MM-DD"


@pytest.mark.parametrize(
    ("cost", "unpriced", "shown"),
    [
        (None, 3, "unknown"),
        (0.0, 0, "$0.0000"),
        (0.0, 1, "≥ $0.0000"),  # some for free, some unknown
        (1234.56789, 0, "$1,234.5679"),
        (1.5, 2, "≥ $1.5000"),
        (0.0001, 0, "$0.0001"),
        (0.0000123, 0, "$0.0000123"),  # little is not nothing
        (0.000000001, 0, "$0.000000001"),
    ],
)
def test_money_for_people(cost: float | None, unpriced: int, shown: str) -> None:
    assert money(cost, unpriced) == shown
