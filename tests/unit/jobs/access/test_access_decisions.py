"""What of API keys needs no Redis: records, names, durations, refusals, periods, memory, addresses."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.access import ANONYMOUS, Caller, KeyRecord, Limits, Refusal, Refused
from jobs.access.exposure import is_loopback
from jobs.access.rate_limit_status import RateLimitStatus, duration, rate_headers, refusal_of
from jobs.access.record import check_name
from jobs.access.secret import digest_of, id_of_digest, new_key_id, new_secret
from jobs.access.spending import counters, seconds_left
from jobs.access.ttl_cache import TTLCache

NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (-1.0, "0s"),
        (0.0001, "1ms"),  # rounded up, so that no retry comes too early
        (0.12, "120ms"),
        (0.9999, "1s"),
        (1.0, "1s"),
        (8.64, "8.64s"),
        (59.9995, "1m0s"),
        (60.0, "1m0s"),
        (86.4, "1m26.4s"),
        (360.0, "6m0s"),
        (3600.0, "1h0m0s"),
        (90061.5, "25h1m1.5s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_rates_stand_in_the_headers_of_what_is_limited() -> None:
    standing = RateLimitStatus("ok", 0, 9, 6.0, 900, 0.25)
    assert rate_headers(Limits(), standing) == {}
    assert rate_headers(Limits(parallel=3, budget_day=1), standing) == {}
    assert rate_headers(Limits(rpm=10, tpm=1000), standing) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-reset-requests": "6s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": "250ms",
    }


@pytest.mark.parametrize(
    ("verdict", "kind", "words", "wait"),
    [
        ("requests", Refusal.REQUESTS, "10 requests per minute", 2.5),
        ("tokens", Refusal.TOKENS, "1000 tokens per minute", 2.5),
        ("parallel", Refusal.PARALLEL, "4 requests at once", 1.0),
        ("day", Refusal.BUDGET, "budget of this key for today is spent", 12 * 3600.0),
        ("month", Refusal.BUDGET, "budget of this key for this month is spent", 12 * 3600.0),  # it is the 28th of February
    ],
)
def test_a_limit_that_is_reached_is_named(verdict: str, kind: Refusal, words: str, wait: float) -> None:
    refused = refusal_of(Limits(10, 1000, 4, 0.5, 9.0), RateLimitStatus(verdict, 2.5), NOON)
    assert refused
    assert (refused.kind, refused.retry_after) == (kind, wait)
    assert words in refused.message
    assert refused.headers["x-ratelimit-limit-requests"] == "10"


def test_what_is_within_the_limits_is_not_refused() -> None:
    assert refusal_of(Limits(rpm=1), RateLimitStatus("ok"), NOON) is None


@pytest.mark.parametrize(
    ("at", "day", "month"),
    [
        (datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), 1.0, 1.0),
        (datetime(2026, 1, 31, tzinfo=UTC), 86400.0, 86400.0),
        (datetime(2024, 2, 28, tzinfo=UTC), 86400.0, 2 * 86400.0),  # a leap year
        (datetime(2026, 12, 31, 12, tzinfo=UTC), 43200.0, 43200.0),
        (datetime(2026, 12, 1, tzinfo=UTC), 86400.0, 31 * 86400.0),
    ],
)
def test_days_and_months_end_by_utc(at: datetime, day: float, month: float) -> None:
    assert seconds_left(at.timestamp()) == (day, month)


def test_counters_are_named_by_day_and_month() -> None:
    assert counters("key_1", NOON) == ("rb:spent:key_1:2026-02-28", "rb:spent:key_1:2026-02")


def test_secrets_and_ids_do_not_repeat() -> None:
    assert len({new_secret() for _ in range(1000)} | {new_key_id() for _ in range(1000)}) == 2000
    assert len(new_secret()) == len("rb-") + 43  # 256 bits
    assert id_of_digest(digest_of("a")) == id_of_digest(digest_of("a")) != id_of_digest(digest_of("b"))


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_has_a_digest(text: str) -> None:
    assert len(digest_of(text)) == 64


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\tb", "\x00", "\x1b[31m", "a" * 101, "\u202e", "\ud800"])
def test_names_that_would_spoil_a_table_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "team a", "schlüssel", "a" * 100, "名前"])
def test_other_names_are_fine(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("field", ["rpm", "tpm", "parallel", "budget_day", "budget_month"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e300])
def test_limits_that_limit_nothing_sensible_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: value})


def test_a_record_survives_its_storage() -> None:
    limits = Limits(1, 2, 3, 0.25, 4.5)
    full = KeyRecord("key_1", "schlüssel", "d" * 64, 10, 20, ("a", "b"), limits, admin=True, revoked=True)
    for record in (full, KeyRecord("key_2", "plain", "e" * 64, 10)):
        assert KeyRecord.from_json(record.to_json()) == record


def test_a_key_dies_at_its_time_or_by_revocation() -> None:
    assert KeyRecord("k", "n", "d", 0).lives(1e12)
    assert KeyRecord("k", "n", "d", 0, expires_at=10).lives(9.9)
    assert not KeyRecord("k", "n", "d", 0, expires_at=10).lives(10.0)
    assert not KeyRecord("k", "n", "d", 0, revoked=True).lives(0.0)


def test_a_caller_sees_what_is_its_own() -> None:
    caller, admin = Caller("key_1", "a", admin=False), Caller("key_2", "b", admin=True)
    assert caller.may_see("key_1") and not caller.may_see("key_2") and not caller.may_see("")
    assert admin.may_see("key_1") and admin.may_see("") and ANONYMOUS.may_see("key_1")
    assert (caller.sees_only, admin.sees_only) == ("key_1", None)


def test_a_key_for_certain_models_must_name_one_of_them() -> None:
    caller = Caller("key_1", "a", admin=False, models=("small", "large"))
    caller.check_models(("small", "large"))
    for wanted, words in (("other", "'other'"), ("", "must name a model"), ("SMALL", "'SMALL'")):
        with pytest.raises(Refused, match=f"{words}.*small, large") as refused:
            caller.check_models(("small", wanted))
        assert (refused.value.kind, refused.value.retry_after) == (Refusal.MODEL, None)
    ANONYMOUS.check_models(("anything", ""))


def test_answers_are_remembered_for_their_time_and_the_oldest_makes_room() -> None:
    now = [100.0]
    recent: TTLCache[int] = TTLCache(2, 2.0, lambda: now[0])
    recent.put("a", 1, now[0])
    recent.put("b", 2, now[0])
    now[0] = 101.9
    assert recent.get("a") == 1
    recent.put("c", 3, now[0])
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (None, 2, 3)
    now[0] = 102.0
    assert (recent.get("b"), recent.get("c")) == (None, 3)
    for number in range(1000):
        recent.put(str(number), number, now[0])
    assert len(recent) == 2


def test_the_clocks_of_remembering_start_when_the_question_was_asked() -> None:
    recent: TTLCache[int] = TTLCache(2, 2.0)
    recent.put("slow", 1, time.monotonic() - 3.0)
    assert recent.get("slow") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "LOCALHOST"])
def test_addresses_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "localhost.example.com", "example.com", "128.0.0.1", "127.1"])
def test_addresses_beyond_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("models", "wanted", "allowed"),
    [
        ((), "anything", True),
        (("m",), "m", True),
        (("m",), "n", False),
        (("m",), "", False),
        (("gpt-*",), "gpt-5", True),
        (("gpt-*",), "claude", False),
        (("gpt-*",), "", False),
        # A chain by each of its models, whatever it begins with.
        (("gpt-*", "m"), "gpt-5,m", True),
        (("gpt-*",), "gpt-5, dear", False),
        (("a,b",), "a,b", True),
        (("a,b",), "a", False),
    ],
)
def test_models_are_names_and_patterns(models: tuple[str, ...], wanted: str, allowed: bool) -> None:
    assert Caller("key_1", "team", admin=False, models=models).may_use(wanted) is allowed


def test_a_record_holds_no_limit_that_is_not_set() -> None:
    record = KeyRecord("key_1", "team", "digest", 1, limits=Limits(rpm=5), last_used_at=7)
    kept = orjson.loads(record.to_json())
    assert kept["limits"] == {"rpm": 5} and "last_used_at" not in kept
    assert KeyRecord.from_json(record.to_json()) == replace(record, last_used_at=None)
