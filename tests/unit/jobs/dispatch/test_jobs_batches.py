"""Which shards become provider batches, and until when a job has time for them."""

from dataclasses import replace

import pytest

from jobs.dispatch.batches import MOST_SHARDS, BatchLoad, batches_end, pace_of, plan_batches
from jobs.dispatch.sizing import MAX_SHARD, JobNeed, ReturnedRange

MB = 1024 * 1024
A, B = BatchLoad("a", 100 * MB), BatchLoad("b", 100 * MB)
NEED = JobNeed("j", cursor=0, total=5_000, line_bytes=400, batches_at=frozenset({"a"}))


def planned(*needs: JobNeed, loads: tuple[BatchLoad, ...] = (A,)) -> list[tuple[str, int, int, str]]:
    shards, _ = plan_batches(needs, loads, 4.0)
    return [(shard.job_id, shard.first, shard.end, shard.endpoint) for shard in shards]


def test_a_job_is_cut_into_batches_at_once() -> None:
    assert planned(NEED) == [("j", 0, 2_000, "a|batch"), ("j", 2_000, 4_000, "a|batch"), ("j", 4_000, 5_000, "a|batch")]
    _, (rest,) = plan_batches([NEED], [A], 4.0)
    assert rest.remaining == 0
    assert rest.open_lines == {"a|batch": 5_000}


def test_endpoints_share_a_job_by_their_lines() -> None:
    both = replace(NEED, batches_at=frozenset({"a", "b"}))
    busy = replace(A, open_lines=3_000, open_shards=2)
    assert [endpoint for *_, endpoint in planned(both, loads=(busy, B))] == ["b|batch", "b|batch", "a|batch"]


def test_what_came_back_goes_first_as_it_was() -> None:
    back = replace(NEED, cursor=5_000, returned=(ReturnedRange(70, 90, attempt=1),))
    (shard,), _ = plan_batches([back], [A], 4.0)
    assert (shard.first, shard.end, shard.attempt, shard.came_back) == (70, 90, 1, True)


def test_jobs_of_a_higher_priority_go_first() -> None:
    full = replace(A, open_shards=MOST_SHARDS - 1)
    assert [job for job, *_ in planned(NEED, replace(NEED, job_id="k", priority=1), loads=(full,))] == ["k"]


@pytest.mark.parametrize(
    ("need", "load", "lines"),
    [
        (replace(NEED, line_bytes=MB), A, 50),  # half of what a batch may have: requests become longer when they are translated
        (replace(NEED, line_bytes=MB), BatchLoad("a", 1_000 * MB), 64),
        (replace(NEED, affordable=30.0), A, 30),
        (NEED, replace(A, queued_tokens=10_000), 100),
        (NEED, replace(A, queued_tokens=10_000, tokens=9_950.0, open_shards=1), None),
        (replace(NEED, line_bytes=1e6), replace(A, queued_tokens=10_000), 1),  # it is longer than the queue: it is tried alone
        (replace(NEED, affordable=0.0), A, 1),
        (NEED, replace(A, open_shards=MOST_SHARDS), None),
        (replace(NEED, batches_at=frozenset({"unknown"})), A, None),
        (NEED, A, MAX_SHARD),
    ],
)
def test_how_large_a_batch_is(need: JobNeed, load: BatchLoad, lines: int | None) -> None:
    shards = planned(need, loads=(load,))
    assert (shards[0][2] - shards[0][1] if shards else None) == lines


@pytest.mark.parametrize(
    ("price_class", "window", "lines", "pace", "before_the_end"),
    [
        ("batch", 86_400, 10**6, 1.0, 0),
        ("cheapest", 86_400, 1_000, 100.0, 1_800),  # half an hour
        ("cheapest", 600, 100, 100.0, 200),  # a third
        ("cheapest", 86_400, 10**6, 100.0, 20_000),  # twice what the lines need
        ("cheapest", 86_400, 10**7, 100.0, 43_200),  # half of the window
        ("cheapest", 86_400, 100, 0.0, 43_200),
        ("standard", 86_400, 1, 1.0, None),
        ("flex", 86_400, 1, 1.0, None),
        ("", 86_400, 1, 1.0, None),
    ],
)
def test_until_when_lines_are_in_batches(
    price_class: str, window: float, lines: int, pace: float, before_the_end: float | None
) -> None:
    end = batches_end(price_class, 1e9, window, lines, pace)
    assert end == (0.0 if before_the_end is None else 1e9 - before_the_end)


def test_the_pace_of_endpoints_of_which_nothing_is_known_is_guessed() -> None:
    assert pace_of([(32, 2.0), (10, None)]) == 17.0
