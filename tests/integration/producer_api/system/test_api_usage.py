"""The account of usage over HTTP."""

from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
import redis as sync_redis
from live_server import error_of

from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.state import keys
from balancer.usage.tally import Row, Tally

TODAY = datetime.now(UTC).date()


def used(redis_url: str, day: date, row: Row, *outcomes: Outcome) -> None:
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    with sync_redis.Redis.from_url(redis_url) as client:
        client.hset(keys.usage(day.isoformat()), row.packed(), tally.packed())


GOOD = Outcome("one", 0.25, 200, usage=Usage(100, 10, 40, 5), cost=0.5)
UNPRICED = Outcome("two", 1.0, 200, usage=Usage(7, 3))
BAD = Outcome("one", 1.0, failure=Failure(FailureKind.TIMEOUT, "slow"))
GPT, LLAMA = Row("openai", "gpt", "one", "alice"), Row("vllm", "org/llama", "two", "")


def test_sums_come_by_what_is_asked(http: httpx.Client, redis_url: str) -> None:
    used(redis_url, date(2026, 2, 1), GPT, GOOD, GOOD, BAD)
    used(redis_url, date(2026, 2, 2), LLAMA, UNPRICED)
    used(redis_url, date(2026, 2, 3), GPT, GOOD)
    query = {"from": "2026-02-01", "to": "2026-02-02", "by": "model,endpoint"}
    found = http.get("/api/v1/usage", params=query).json()
    assert (found["object"], found["first_day"], found["last_day"]) == ("list", "2026-02-01", "2026-02-02")
    assert found["by"] == ["model", "endpoint"]
    gpt, llama = found["data"]
    assert gpt | {"latency": None} == {
        "day": None,
        "provider": None,
        "model": "gpt",
        "endpoint": "one",
        "key": None,
        "source": None,
        "tier": None,
        "requests": 3,
        "errors": 1,
        "tokens": {"input": 200, "cached": 80, "output": 20, "reasoning": 10, "total": 220},
        "cost": 1.0,
        "unpriced_requests": 0,
        "guessed_requests": 0,
        "latency": None,
    }
    assert gpt["latency"]["average"] == 0.25
    assert 0.2 <= gpt["latency"]["p50"] <= gpt["latency"]["p95"] <= 0.3
    # What is not known is null, and not 0.
    assert (llama["model"], llama["cost"], llama["unpriced_requests"]) == ("org/llama", None, 1)
    assert (found["total"]["requests"], found["total"]["cost"], found["total"]["unpriced_requests"]) == (4, 1.0, 1)


def test_without_a_question_it_is_the_last_thirty_days_by_day(http: httpx.Client, redis_url: str) -> None:
    used(redis_url, TODAY, GPT, GOOD)
    used(redis_url, TODAY - timedelta(days=28), GPT, GOOD, GOOD)
    used(redis_url, TODAY - timedelta(days=31), GPT, GOOD)
    found = http.get("/api/v1/usage").json()
    assert found["by"] == ["day"]
    assert [row["requests"] for row in found["data"]] == [2, 1]
    assert found["total"]["requests"] == 3


def test_a_key_without_a_name_differs_from_a_group_that_was_not_asked_for(http: httpx.Client, redis_url: str) -> None:
    used(redis_url, TODAY, LLAMA, UNPRICED)
    (row,) = http.get("/api/v1/usage", params={"by": "key"}).json()["data"]
    assert (row["key"], row["day"]) == ("", None)


def test_nothing_used_is_an_empty_list(http: httpx.Client) -> None:
    found = http.get("/api/v1/usage").json()
    assert (found["data"], found["total"]["requests"], found["total"]["cost"]) == ([], 0, 0.0)
    assert found["total"]["latency"] == {"average": None, "p50": None, "p95": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"from": "2024-01-01", "to": "2026-01-01"}, "from"),  # more days than are kept
        ({"to": "x" * 5000}, "to"),
        ({"to": ""}, "to"),
        ({"by": "month"}, "by"),
        ({"by": "day,day"}, "by"),
        ({"by": ""}, "by"),
    ],
)
def test_bad_questions_are_refused_with_the_field(http: httpx.Client, query: dict[str, str], field: str) -> None:
    response = http.get("/api/v1/usage", params=query)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (422, field, "invalid_value")
    assert error["message"].startswith(f"{field}: ")
    assert error["type"] == "invalid_request_error"


def test_the_documentation_explains_the_parameters(http: httpx.Client) -> None:
    operation = http.get("/openapi.json").json()["paths"]["/api/v1/usage"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {"from", "to", "by"}
    assert all(parameter["description"] for parameter in operation["parameters"])
