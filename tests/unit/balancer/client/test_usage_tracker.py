"""Counts of a program's own calls."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from balancer import LLMUsageTracker
from balancer.client.named import usage_tracker


def test_requests_are_summed_by_provider() -> None:
    tracker = LLMUsageTracker()
    for _ in range(10):
        tracker.track_request("openai", 100, 0.1)
    tracker.track_request("gemini", 7, None)
    assert tracker.get_daily_stats() == {
        "openai": {"requests": 10, "tokens": 1_000, "cost": 1.0, "requests_of_unknown_cost": 0},
        "gemini": {"requests": 1, "tokens": 7, "cost": 0.0, "requests_of_unknown_cost": 1},
    }
    assert tracker.get_daily_stats(date(2020, 1, 1)) == {}


def test_threads_lose_no_count() -> None:
    tracker = LLMUsageTracker()
    threads = [threading.Thread(target=lambda: [tracker.track_request("a", 1, 0.001) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker.get_daily_stats()["a"] == {"requests": 4_000, "tokens": 4_000, "cost": 4.0, "requests_of_unknown_cost": 0}


def test_old_days_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        today_is = datetime(2026, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return cls.today_is

    monkeypatch.setattr(usage_tracker, "datetime", Clock)
    tracker = LLMUsageTracker()
    for day in range(40):
        Clock.today_is = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        tracker.track_request("a", 1, 0.0)
    assert not tracker.get_daily_stats(date(2026, 1, 9)) and tracker.get_daily_stats(date(2026, 1, 10))
