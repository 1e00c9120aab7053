"""One process's health follows the same rules as the one in Redis: both get the same outcomes at the same times."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state.health import shared as health
from balancer.state.health.circuit import DOUBT, KEPT_OF_TIMEOUTS, RECENT, TIMEOUTS_TO_SUSPECT, HealthPolicy
from balancer.state.health.local import Record, after_report
from balancer.state.health.report import Seen
from balancer.state.health.shared import read_health

POLICY = HealthPolicy(failures_to_open=3, connection_weight=2, first_open=2.0, longest_open=8.0)
KEY = "rb:test:health"
CLOCK = "redis.call('TIME')"
START = 1_000_000.0

KINDS = [None, *FailureKind]
# Eighths of a second are exact in floats, so that both sides agree on what is past.
EIGHTHS = st.one_of(st.integers(0, 80), st.integers(0, 800)).map(lambda eighths: eighths / 8)
OUTCOMES = st.builds(
    lambda kind, latency, retry_after, repeated: Outcome(
        "e", latency, failure=Failure(kind, "why", None, retry_after) if kind is not None else None, repeated=repeated
    ),
    st.sampled_from(KINDS),
    st.floats(0.01, 5),
    st.sampled_from([None, 0.5, 4.0]),
    st.booleans(),
)
STEP = st.tuples(EIGHTHS, st.lists(OUTCOMES, max_size=4), st.sampled_from(["report", "passed", "failed"]))


@pytest.fixture(scope="module")
def client(redis_server: str) -> sync_redis.Redis:
    return sync_redis.Redis.from_url(redis_server)


@given(steps=st.lists(STEP, max_size=25))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_keep_the_same_record(client: sync_redis.Redis, steps: Sequence[tuple[float, list[Outcome], str]]) -> None:
    source = (Path(health.__file__).parent / "report.lua").read_text()
    assert source.count(CLOCK) == 1
    script = client.register_script(source.replace(CLOCK, "{tonumber(ARGV[18]), tonumber(ARGV[19])}"))
    client.delete(KEY)
    record, now = Record(), START
    for passed_by, outcomes, what in steps:
        now += passed_by
        seen = Seen()
        for outcome in outcomes:
            seen.add(outcome, POLICY)
        if what == "failed":
            seen.run = POLICY.failures_to_open * DOUBT
        record = after_report(record, seen, seen.policy(POLICY), now, what == "passed")
        script(keys=[KEY], args=arguments(seen, what == "passed", now))
        compare(record, client, now)


def arguments(seen: Seen, check_passed: bool, now: float) -> list[str | int]:
    policy = seen.policy(POLICY)
    mean = f"{seen.latency_sum / seen.answered:.6f}" if seen.answered else ""
    return [
        seen.ok, mean, seen.run, seen.failed, seen.error, policy.failures_to_open, int(policy.first_open * 1000),
        int(policy.longest_open * 1000), int(seen.limited_for * 1000), int(check_passed), seen.opened_by,
        seen.repeated_run, int(RECENT * 1000), seen.doubt, seen.timeouts, KEPT_OF_TIMEOUTS, TIMEOUTS_TO_SUSPECT,
        int(now), round(now % 1 * 1_000_000),
    ]  # fmt: skip


def compare(record: Record, client: sync_redis.Redis, now: float) -> None:
    fields: dict[bytes, bytes] = client.hgetall(KEY)  # type: ignore[assignment]
    there, here = read_health(fields, now), record.health(now)
    assert (here.circuit, here.completed, here.failed) == (there.circuit, there.completed, there.failed)
    assert here.last_error == there.last_error
    assert (record.run, record.trips) == (int(fields[b"run"]), int(fields[b"trips"]))
    assert here.open_for == pytest.approx(there.open_for, abs=2e-3)
    assert here.limited_for == pytest.approx(there.limited_for, abs=2e-3)
    assert here.latency == pytest.approx(there.latency, abs=1e-4)
    if there.completed:
        assert here.idle_for == pytest.approx(there.idle_for, abs=2e-3)
