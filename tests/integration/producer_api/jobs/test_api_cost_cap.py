"""A cap on a job's cost over HTTP: set when the job is opened, seen when it is reached, raised with PATCH."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer, batch_lines, create_batch, error_of, open_for_work, upload

from balancer.configuration import Configuration
from balancer.endpoint import Price
from balancer.outcome import Usage
from jobs.dispatch.lease_table import FinishedLine, Order
from jobs.node import Node, open_node
from workers.messages import celery_wake


@pytest.fixture
def priced(configuration: Configuration) -> Configuration:
    return replace(configuration, endpoints=tuple(replace(e, price=Price(1.0, 2.0)) for e in configuration.endpoints))


@pytest.fixture
def server(start: StartServer, priced: Configuration) -> LiveServer:
    """A server whose endpoints have prices."""
    return start(endpoints=priced.endpoints)


@pytest.fixture
async def node(priced: Configuration, redis_url: str) -> AsyncIterator[Node]:
    async with open_node(priced, redis_url, celery_wake(priced, redis_url)) as opened:
        await open_for_work(opened)
        yield opened


async def spend(node: Node, job_id: str, usd: float) -> Order:
    """Do the first open line of a job as a worker does, at that cost."""
    table = node.service.shards
    first = (await table.open_of(job_id))[0]
    state = await table.state(job_id, first)
    claim = await table.claim(job_id, first, int(state["end"]), state["token"], "by hand")
    assert claim.shard
    return (await table.record([(claim.shard, [FinishedLine(first, b"{}", False, Usage(10, 5), "one", usd)])]))[0]


def change(http: httpx.Client, job_id: str, **body: Any) -> httpx.Response:
    return http.patch(f"/api/v1/jobs/{job_id}", json=body)


async def test_a_job_pauses_at_its_cap_and_goes_on_with_a_higher_one(http: httpx.Client, sdk: openai.OpenAI, node: Node) -> None:
    job = http.post("/api/v1/jobs", json={"prompts": ["a"] * 50, "model": "m", "max_cost": 0.5}).raise_for_status().json()
    assert (job["max_cost"], job["paused"], job["projection"]) == (0.5, None, None)
    assert await spend(node, job["id"], 0.6) is Order.STOP
    paused = http.get(f"/api/v1/jobs/{job['id']}").json()
    assert (paused["status"], paused["paused"]["reason"], paused["cost"]["usd"]) == ("in_progress", "max_cost", 0.6)
    assert paused["projection"] == {"usd": 30.0, "at_least": False, "input_tokens": 500, "output_tokens": 250}
    assert sdk.batches.retrieve(job["id"]).status == "in_progress"
    refused = change(http, job["id"], max_cost=0.6)
    assert refused.status_code == 400
    assert error_of(refused)["code"] == "max_cost_spent"
    raised = change(http, job["id"], max_cost=5).raise_for_status().json()
    assert (raised["max_cost"], raised["paused"]) == (5.0, None)
    lifted = change(http, job["id"], max_cost=None).raise_for_status().json()
    assert lifted["max_cost"] is None


async def test_a_paused_job_can_be_cancelled(http: httpx.Client, node: Node) -> None:
    job = http.post("/api/v1/jobs", json={"prompts": ["a"] * 50, "model": "m", "max_cost": 0.5}).json()
    await spend(node, job["id"], 1.0)
    cancelling = http.delete(f"/api/v1/jobs/{job['id']}").raise_for_status().json()
    assert (cancelling["status"], cancelling["paused"]) == ("cancelling", None)
    too_late = change(http, job["id"], max_cost=9.0)
    assert (too_late.status_code, "is cancelling" in error_of(too_late)["message"]) == (400, True)


def test_a_batch_takes_a_cap(http: httpx.Client, sdk: openai.OpenAI) -> None:
    file = upload(http, batch_lines(4))
    batch = create_batch(http, file["id"], max_cost=1.5)
    assert http.get(f"/api/v1/jobs/{batch['id']}").json()["max_cost"] == 1.5
    made = sdk.batches.create(
        input_file_id=file["id"], endpoint="/v1/chat/completions", completion_window="24h", extra_body={"max_cost": 2}
    )
    assert http.get(f"/api/v1/jobs/{made.id}").json()["max_cost"] == 2.0


@pytest.mark.parametrize("max_cost", [0, -1, "5", True, 1e12, [5]])
def test_what_is_no_amount_is_refused(http: httpx.Client, max_cost: Any) -> None:
    refused = http.post("/api/v1/jobs", json={"prompts": ["a"], "max_cost": max_cost})
    assert (refused.status_code, error_of(refused)["param"]) == (422, "max_cost")
    body = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h", "max_cost": max_cost}
    assert http.post("/v1/batches", json=body).status_code == 400


def test_a_change_names_what_is_changed(http: httpx.Client) -> None:
    job = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m"}).json()
    assert error_of(change(http, job["id"]))["code"] == "missing_required_parameter"
    assert error_of(change(http, job["id"], max_cost=1, metadata={}))["code"] == "unknown_parameter"
    assert change(http, "batch_" + "0" * 32, max_cost=1).status_code == 404


def test_a_cap_is_refused_where_a_price_is_unknown(start: StartServer) -> None:
    with httpx.Client(base_url=start().url, trust_env=False, timeout=PATIENCE_S) as http:
        refused = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m", "max_cost": 1})
        assert refused.status_code == 400
        assert error_of(refused)["code"] == "price_unknown"
        assert "one (m), two (m)" in error_of(refused)["message"]
        assert http.get("/v1/files").json()["data"] == []
