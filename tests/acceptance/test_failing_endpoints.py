"""One of two endpoints misbehaves in every way there is: the job completes without an error line."""

import time
from typing import Any

import pytest

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.test_nothing_is_lost import ids

FAULTS: list[tuple[str, dict[str, Any]]] = [
    # rate limits are waited for
    ("429", {"fault": "429", "retry_after": 1}),
    # the server fails inside
    ("500", {"fault": "500"}),
    # the server has too much to do
    ("503", {"fault": "503"}),
    # no answer at all, until the timeout
    ("hang", {"fault": "hang"}),
    # the connection is closed without an answer
    ("close", {"fault": "close"}),
    # the connection breaks in the middle of the body
    ("reset_mid_body", {"fault": "reset_mid_body"}),
    # an answer that is no JSON
    ("broken_json", {"fault": "broken_json"}),
    # an answer that stops too early
    ("truncated_json", {"fault": "truncated_json"}),
    # a proxy's error page
    ("html", {"fault": "html"}),
]


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[name for name, _ in FAULTS])
async def test_a_job_survives_an_endpoint_that_misbehaves(cluster: Cluster, name: str, fault: dict[str, Any]) -> None:
    bad = await cluster.start_model("bad", {"max_concurrency": 6}, latency=0.05)
    await cluster.start_model("good", {"max_concurrency": 6}, latency=0.05)
    bad.behave(**fault)
    cluster.write_config(timeout=1.5)
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(200)
        job = await ended(node, await submit(node, names), 60)
        _, errors = await check_each_once(node, job, names)
    assert not errors
    assert bad.stats["requests"] > 0, "the bad endpoint was never tried: the test shows nothing"
    assert bad.stats["completed"] == 0


async def test_retry_after_is_honoured(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 4}, latency=0.02)
    model.behave(fault="429", retry_after=3)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        started = time.monotonic()
        job = await submit(node, ids(8))
        while time.monotonic() - started < 2.5:
            assert model.stats["requests"] <= 8, "it was asked again before its time"
        model.behave(fault="none")
        job = await ended(node, job)
        _, errors = await check_each_once(node, job, ids(8))
    assert not errors


async def test_final_errors_become_error_lines_with_the_servers_answer(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8})
    model.behave(fail_custom=["line-00003", "line-00011"])
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(20)
        job = await ended(node, await submit(node, names))
        _, errors = await check_each_once(node, job, names)
    assert [row["custom_id"] for row in errors] == ["line-00003", "line-00011"]
    assert {row["response"]["status_code"] for row in errors} == {400}
    assert all(row["error"] is None and row["response"]["body"]["error"]["message"] for row in errors)
    assert max(model.seen().values()) == 1, "a final error was tried again"


async def test_a_line_that_always_fails_inside_the_server_is_given_up_in_the_end(cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 4}, latency=0.01)
    model.behave(fault="500", fault_rate=1.0)
    cluster.write_config()
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(2)
        job = await ended(node, await submit(node, names), 90)
        output, errors = await check_each_once(node, job, names)
    assert not output
    assert {row["error"]["code"] for row in errors} == {"server_error"}
