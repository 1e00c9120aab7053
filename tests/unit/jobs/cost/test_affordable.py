"""How many lines a job may have open under the cap on its cost and in the budgets of its key."""

import itertools
import math
import random

import pytest

from jobs.cost.affordable import SpendingRoom, affordable_lines
from jobs.dispatch.sizing import JobNeed


@pytest.mark.parametrize(
    ("room", "lines"),
    [
        (SpendingRoom(math.inf, 10.0, 10, 1.0), math.inf),
        # nothing costs anything
        (SpendingRoom(100, 0.0, 10, 0.0), math.inf),
        # a third of what is left, at what lines have cost lately
        (SpendingRoom(1_000, 0.0, 0, 1.0), 333),
        (SpendingRoom(900, 10.0, 20, 1.0), 30),
        # of few lines, the higher of their cost and the guess counts
        (SpendingRoom(993, 1.0, 7, 100.0), 3),
        (SpendingRoom(700, 100.0, 7, 1.0), 2),
        # nothing is left
        (SpendingRoom(0, 100.0, 10, 1.0), 0),
        (SpendingRoom(-1_000, 100.0, 10, 1.0), 0),
        (SpendingRoom(50, 95.0, 10, 1.0), 0),
    ],
)
def test_examples(room: SpendingRoom, lines: float) -> None:
    assert affordable_lines(room) == lines


def test_a_job_with_nothing_open_gets_one_line_however_little_is_left() -> None:
    poor = JobNeed("j", 0, 100, endpoints=frozenset("a"), affordable=0)
    assert poor.allowed == 1
    assert poor.given("a", 1).allowed == 0
    assert JobNeed("j", 0, 100, affordable=10).given("a", 4).allowed == 6
    assert JobNeed("j", 0, 100).given("a", 4).allowed == math.inf


@pytest.mark.parametrize("sorted_by_cost", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_waves_of_open_lines_end_near_the_cap(seed: int, sorted_by_cost: bool) -> None:
    """Costs that vary by a factor of sixty, and all lines that are open are paid at once, the worst that can happen."""
    draw = random.Random(seed)
    costs = [draw.randint(20, 1_200) for _ in range(6_000)]
    left = iter(sorted(costs) if sorted_by_cost else costs)
    cap, spent, lately, recorded = 1_000_000, 0, 0.0, 0
    while spent < cap:
        opened = max(1, min(64, affordable_lines(SpendingRoom(cap - spent, lately, recorded, 2_000.0))))
        paid = list(itertools.islice(left, int(opened)))
        spent, recorded = spent + sum(paid), recorded + len(paid)
        mean = sum(paid) / len(paid)
        lately = lately + (mean - lately) * len(paid) / (len(paid) + 32) if lately else mean
    assert spent - cap <= max(0.01 * cap, max(costs))
