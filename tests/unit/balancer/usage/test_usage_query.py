"""What may be asked of the account, and how its sums are made."""

from datetime import date

import pytest

from balancer.errors import BalancerError
from balancer.usage.query import GROUPS, InvalidUsageQuery, UsageQuery, usage_query
from balancer.usage.report import summed
from balancer.usage.tally import LATENCY_BOUNDS, Row, Tally

TODAY = date(2026, 3, 1)


@pytest.mark.parametrize(
    ("first", "last", "since", "until"),
    [
        (None, None, "2026-01-31", "2026-03-01"),  # thirty days, today included
        ("2026-02-01", None, "2026-02-01", "2026-03-01"),
        (None, "2026-01-30", "2026-01-01", "2026-01-30"),
        ("2026-02-28", "2026-02-28", "2026-02-28", "2026-02-28"),  # one day
        ("2025-01-26", None, "2025-01-26", "2026-03-01"),  # 400 days, as many as may be
        ("2026-03-01", "2026-12-31", "2026-03-01", "2026-12-31"),  # what is to come is empty, and no error
        (None, "0001-01-03", "0001-01-01", "0001-01-03"),  # before that there are no days
    ],
)
def test_spans_of_days(first: str | None, last: str | None, since: str, until: str) -> None:
    query = usage_query(first, last, "day", TODAY)
    assert (query.first.isoformat(), query.last.isoformat()) == (since, until)


@pytest.mark.parametrize(
    ("first", "last", "by", "field"),
    [
        ("yesterday", None, "day", "from"),
        ("2026-02-30", None, "day", "from"),  # no such day
        ("20260201", None, "day", "from"),  # ISO as well, but not what we say we read
        ("2026-W05-6", None, "day", "from"),
        ("1767225600", None, "day", "from"),
        ("", None, "day", "from"),
        (None, "2026-3-1", "day", "to"),
        ("2026-03-02", None, "day", "from"),  # after today
        ("2026-02-02", "2026-02-01", "day", "from"),
        ("2025-01-25", None, "day", "from"),  # 401 days
        (None, None, "", "by"),
        (None, None, "day,", "by"),
        (None, None, "month", "by"),
        (None, None, "day,model,day", "by"),
    ],
)
def test_bad_questions_are_refused_with_the_field(first: str | None, last: str | None, by: str, field: str) -> None:
    with pytest.raises(InvalidUsageQuery) as refused:
        usage_query(first, last, by, TODAY)
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field}: ")
    assert isinstance(refused.value, BalancerError) and isinstance(refused.value, ValueError)


def test_groups_keep_their_order_and_may_be_written_with_blanks() -> None:
    assert usage_query(None, None, "model, day", TODAY).by == ("model", "day")
    assert set(GROUPS) == {"day", *Row._fields}


def test_the_days_of_a_question_are_those_of_the_span() -> None:
    query = UsageQuery(date(2026, 2, 27), date(2026, 3, 2), ("day",))
    assert [day.isoformat() for day in query.days()] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]


def entry(day: int, row: Row, requests: int, errors: int = 0, aborted: int = 0, **counts: int) -> tuple[date, Row, Tally]:
    answered = [requests - errors - aborted] + [0] * len(LATENCY_BOUNDS)
    return date(2026, 3, day), row, Tally(requests, errors, buckets=answered, **counts)


ENTRIES = [
    entry(2, Row("openai", "gpt", "a", "k1"), requests=3, errors=1, nano_cost=2_000_000_000, priced=2, latency_us=3_000_000),
    entry(1, Row("openai", "gpt", "b", "k2"), requests=1, nano_cost=500_000_000, priced=1, latency_us=1_000_000),
    entry(1, Row("vllm", "llama", "c", "k1"), requests=4, unpriced=4),
    entry(1, Row("vllm", "qwen", "c", "k1"), requests=2, errors=2),
]


def test_sums_are_by_what_is_asked_and_in_order() -> None:
    by_day = summed(ENTRIES, ("day",))
    assert [(row.group, row.requests) for row in by_day] == [({"day": "2026-03-01"}, 7), ({"day": "2026-03-02"}, 3)]
    both = summed(ENTRIES, ("key", "provider"))
    assert [tuple(row.group.values()) for row in both] == [("k1", "openai"), ("k1", "vllm"), ("k2", "openai")]
    assert [row.requests for row in both] == [3, 6, 1]
    assert [row.requests for row in summed(ENTRIES, ())] == [10]
    assert summed([], ("day",)) == []


def test_an_unknown_cost_is_not_zero() -> None:
    gpt, llama, qwen = summed(ENTRIES, ("model",))
    assert (gpt.cost, gpt.unpriced_requests) == (2.5, 0)
    assert (llama.cost, llama.unpriced_requests) == (None, 4)
    assert (qwen.cost, qwen.unpriced_requests) == (0.0, 0)  # nothing but failures
    (total,) = summed(ENTRIES, ())
    assert (total.cost, total.unpriced_requests) == (2.5, 4)


def test_latency_is_that_of_what_was_answered() -> None:
    gpt, _, qwen = summed(ENTRIES, ("model",))
    assert gpt.latency == pytest.approx(4 / 3)
    assert (qwen.latency, qwen.latency_p50, qwen.latency_p95) == (None, None, None)
    (some,) = summed([entry(1, Row("vllm", "llama", "c", "k1"), requests=5, errors=1, aborted=2, latency_us=3_000_000)], ())
    assert some.latency == 1.5
