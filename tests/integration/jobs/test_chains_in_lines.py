"""A line may name several models in `models`: each of them is checked as the one in `model` is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from balancer.configuration import Configuration, HealthCheck
from balancer.endpoint import Endpoint, Price
from jobs.access import Caller, Refused
from jobs.errors import InvalidRequest
from jobs.intake.files import Upload
from jobs.node import Node, open_node
from jobs.records import FileRecord
from jobs.records.states import JobStatus
from jobs.service import JobRequest
from workers.messages import celery_wake

PATH = "/v1/chat/completions"


@pytest.fixture
async def node(redis_url: str, tmp_path: Path) -> AsyncIterator[Node]:
    """A fleet that serves `m` at a known price and `dear` at none."""
    endpoints = (
        Endpoint("http://127.0.0.1:9/v1", "one", models={"m": "m"}, price=Price(1, 1)),
        Endpoint("http://127.0.0.1:9/v1", "two", models={"dear": "dear"}, provider="vllm"),
    )
    configuration = Configuration(endpoints=endpoints, store=str(tmp_path), health_check=HealthCheck(enabled=False))
    async with open_node(configuration, redis_url, celery_wake(configuration, redis_url)) as opened:
        yield opened


async def uploaded(node: Node, owner: str = "", **body: Any) -> FileRecord:
    line = {"custom_id": "a", "method": "POST", "url": PATH, "body": {"messages": [{"role": "user"}], **body}}

    async def content() -> AsyncIterator[bytes]:
        yield orjson.dumps(line) + b"\n"

    return await node.service.files.add(Upload("in.jsonl", owner=owner), content())


async def test_a_key_for_one_model_cannot_reach_another_one(node: Node) -> None:
    file = await uploaded(node, "key_x", model="m", models=["dear"])
    with pytest.raises(Refused):
        await node.service.submit(JobRequest(file.id, PATH, caller=Caller("key_x", "x", False, ("m",))))


async def test_a_cap_wants_the_price_of_every_model(node: Node) -> None:
    file = await uploaded(node, model="m", models=["dear"])
    with pytest.raises(InvalidRequest):
        await node.service.submit(JobRequest(file.id, PATH, max_cost=1.0))


async def test_a_model_that_not_served_is_found_at_once(node: Node) -> None:
    file = await uploaded(node, models=["nobody"])
    assert (await node.service.submit(JobRequest(file.id, PATH))).status is JobStatus.FAILED


@pytest.mark.parametrize("models", ["dear", [5], {"a": 1}])
async def test_models_are_a_list_of_names(node: Node, models: Any) -> None:
    file = await uploaded(node, model="m", models=models)
    assert [bad.param for bad in file.errors] == ["body.models"]
