"""How much an endpoint may hold and how large a shard is: tables of both."""

import math
from dataclasses import replace

import pytest

from jobs.dispatch.sizing import (
    MAX_AHEAD_ANSWER_BYTES,
    MAX_SHARD,
    MAX_SHARD_ANSWER_BYTES,
    MAX_SHARD_BYTES,
    EndpointLoad,
    JobNeed,
    credit,
    lines_within_bytes,
    shard_size,
)

MB = 1024 * 1024


def need(total: int = 10_000, **changes: object) -> JobNeed:
    return replace(JobNeed("job", 0, total, endpoints=frozenset("a")), **changes)  # type: ignore[arg-type]


def load(**changes: object) -> EndpointLoad:
    return replace(EndpointLoad("a", latency=1.0), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("endpoint", "remaining", "expected"),
    [
        (load(latency=None), 10**6, 64),  # nothing is known yet: two rounds of its slots
        (load(), 10**6, 32 + 128),  # its slots and four seconds of work
        (load(latency=100.0), 10**6, 32 + 32),  # slow: as much again as its slots
        (load(), 20, 32 + 10),  # near the end: half of what is left
        (load(), 0, 32),
        (load(probing=True), 10**6, 4),  # being tried out
        (load(probing=True, max_concurrency=1), 10**6, 1),
    ],
)
def test_credit(endpoint: EndpointLoad, remaining: int, expected: int) -> None:
    assert credit(endpoint, remaining, endpoint.pace) == expected


@pytest.mark.parametrize(
    ("endpoint", "job", "most"),
    [
        (load(max_concurrency=100_000, latency=0.01), need(10**8), MAX_SHARD),
        (load(), need(3), 3),  # no more than there are
        (load(max_concurrency=1, latency=10.0), need(50_000), 1),
        (load(max_concurrency=1, latency=10.0), need(10**6), 10),  # so that there are not too many parts
        (load(max_concurrency=10_000), need(10**6, line_bytes=MAX_SHARD_BYTES / 10), 10),
        (load(max_concurrency=10_000), need(10**6, line_bytes=MAX_SHARD_BYTES * 10.0), 1),
    ],
)
def test_shards_have_a_bound(endpoint: EndpointLoad, job: JobNeed, most: int) -> None:
    assert 1 <= shard_size(endpoint, job, endpoint.pace) <= most


def test_shards_shrink_towards_the_end() -> None:
    sizes = [shard_size(load(), need(total), 32.0) for total in (100_000, 300, 100, 40, 8, 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1 and sizes[0] > 4 * sizes[-2]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (need(), math.inf),  # nothing is known yet
        (need(result_bytes=MB), 32 + MAX_AHEAD_ANSWER_BYTES // MB),
        (need(result_bytes=MB, endpoints=frozenset("abcd")), 32 + MAX_AHEAD_ANSWER_BYTES // (4 * MB)),  # over all that serve it
        (need(result_bytes=1024.0 * MB), 32),  # whatever their size, the slots are used
    ],
)
def test_large_results_bound_how_many_lines_are_open(job: JobNeed, expected: float) -> None:
    assert lines_within_bytes(load(), job) == expected


def test_large_results_make_small_shards() -> None:
    fast = load(latency=0.01)
    assert shard_size(fast, need(result_bytes=MB), fast.pace) == MAX_SHARD_ANSWER_BYTES // MB
    assert shard_size(fast, need(result_bytes=100.0 * MB), fast.pace) == 1
    nearly_full = need(result_bytes=MB, open_lines={"a": 32 + MAX_AHEAD_ANSWER_BYTES // MB - 3})
    assert shard_size(fast, nearly_full, fast.pace) == 3


def test_what_all_jobs_want_counts_for_the_credit_of_a_small_one() -> None:
    full_for_one = load(open_lines=100)
    assert credit(full_for_one, 20, 32.0) < 100
    assert shard_size(full_for_one, need(20), 32.0, demand=6020) > 1


@pytest.mark.parametrize(("workers", "expected"), [(1, 32), (2, 16), (4, 8)])
def test_beyond_the_credit_a_job_gets_the_slots_in_one_shard_for_each_process(workers: int, expected: int) -> None:
    full = load(open_lines=credit(load(), 10**5, 32.0))
    assert shard_size(full, need(10**5), 32.0, workers) == expected
