"""Which jobs go before their equals since they are short of time, and which are going to be late."""

from dataclasses import replace

import pytest

from balancer.routing import BalancingStrategy
from jobs.dispatch.deadlines import outlook
from jobs.dispatch.planning import plan
from jobs.dispatch.sizing import EndpointLoad, JobNeed

FAST = EndpointLoad("e", max_concurrency=100, latency=1.0)  # 100 lines a second
E = frozenset({"e"})


def need(name: str, lines: int, seconds: float, priority: int = 0, open_lines: int = 0) -> JobNeed:
    held = {"e": open_lines} if open_lines else {}
    return JobNeed(name, 0, lines, endpoints=E, seconds_left=seconds, priority=priority, open_lines=held)


@pytest.mark.parametrize(
    ("needs", "urgent", "late"),
    [
        # alone, and in time
        ([need("a", 1000, 60)], set(), set()),
        # with half of the fleet it would take 40 s
        ([need("a", 2000, 30), need("b", 2000, 3600)], {"a"}, set()),
        # with half it is in time
        ([need("a", 1000, 60), need("b", 2000, 3600)], set(), set()),
        # lines that are under way count
        ([need("a", 0, 30, open_lines=2000), need("b", 2000, 3600)], {"a"}, set()),
        # not even with all of it
        ([need("a", 9000, 60)], set(), {"a"}),
        # together they can't, the one with the earlier deadline can
        ([need("a", 2000, 30), need("b", 2500, 40)], {"a"}, {"b"}),
        # one that is late anyway takes nothing from the others
        ([need("a", 9000, 30), need("b", 2500, 40)], {"b"}, {"a"}),
        # a higher priority goes before
        ([need("a", 2000, 30), need("b", 2000, 3600, priority=1)], set(), {"a"}),
        # 30 s, 5 min and 1 h, feasible together
        ([need("a", 2000, 30), need("b", 20_000, 300), need("c", 200_000, 3600)], {"a", "b"}, set()),
    ],
)
def test_the_outlook(needs: list[JobNeed], urgent: set[str], late: set[str]) -> None:
    found = outlook(needs, [FAST])
    assert (found.urgent, found.late.keys()) == (urgent, late)


def test_a_job_is_urgent_until_a_fifth_of_its_window_is_safe() -> None:
    """However near its end: one that is only just in time with its share would be done in the last moment."""
    half_done = replace(need("a", 500, 15), window=30.0)
    assert outlook([half_done, need("b", 2000, 3600)], [FAST]).urgent == {"a"}
    assert outlook([replace(half_done, total=400), need("b", 2000, 3600)], [FAST]).urgent == set()


def test_without_a_measured_pace_nothing_is_said() -> None:
    found = outlook([need("a", 10**9, 1)], [replace(FAST, latency=None)])
    assert not found.urgent and not found.late


def test_how_long_a_late_job_needs_is_reported() -> None:
    assert outlook([need("a", 9000, 60)], [FAST]).late == {"a": pytest.approx(90.0)}


def test_an_urgent_job_is_given_lines_before_its_equals() -> None:
    needs = [need("lax", 10_000, 3600), need("tight", 2000, 30, open_lines=50)]
    planned = plan(BalancingStrategy.WEIGHTED, needs, [replace(FAST, open_lines=500)], {}, urgent={"tight"})
    assert {shard.job_id for shard in planned.shards} == {"tight"}


def test_of_two_urgent_jobs_the_earlier_deadline_goes_first() -> None:
    needs = [need("later", 2000, 60), need("sooner", 2000, 30, open_lines=50)]
    planned = plan(BalancingStrategy.WEIGHTED, needs, [FAST], {}, urgent={"sooner", "later"})
    assert planned.shards[0].job_id == "sooner"


def test_a_higher_priority_goes_before_an_urgent_job() -> None:
    needs = [need("tight", 2000, 30), need("high", 2000, 3600, priority=1)]
    planned = plan(BalancingStrategy.WEIGHTED, needs, [FAST], {}, urgent={"tight"})
    assert planned.shards[0].job_id == "high"
