"""The fleet changed over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from live_server import error_of

from jobs.node import Node
from jobs.storage import keys
from tests.waiting import until


def names(http: httpx.Client) -> list[str]:
    return [entry["name"] for entry in http.get("/api/v1/endpoints").json()["data"]]


def test_an_endpoint_is_added_changed_drained_and_removed(http: httpx.Client) -> None:
    assert names(http) == ["one", "two"]
    settings = {"url": "http://127.0.0.1:8/v1", "name": "three", "models": ["new"], "weight": 2}
    added = http.post("/api/v1/endpoints", json=settings)
    assert (added.status_code, added.json()["name"], added.json()["weight"]) == (201, "three", 2.0)
    assert names(http) == ["one", "two", "three"]
    assert "new" in [model["id"] for model in http.get("/v1/models").json()["data"]]
    changed = http.patch("/api/v1/endpoints/three", json={"weight": 5, "max_concurrency": 7}).json()
    assert (changed["weight"], changed["max_concurrency"], changed["draining"]) == (5.0, 7, False)
    assert http.patch("/api/v1/endpoints/three", json={"draining": True}).json()["draining"] is True
    assert http.patch("/api/v1/endpoints/three", json={"draining": False}).json()["draining"] is False
    assert http.delete("/api/v1/endpoints/three").status_code == 204
    assert names(http) == ["one", "two"]


def test_configured_endpoints_are_changed_and_removed_over_the_file(http: httpx.Client) -> None:
    assert http.patch("/api/v1/endpoints/one", json={"weight": 9}).json()["weight"] == 9.0
    assert http.delete("/api/v1/endpoints/two").status_code == 204
    assert names(http) == ["one"]
    again = http.post("/api/v1/endpoints", json={"url": "http://127.0.0.1:9/v1", "name": "two"})
    assert again.status_code == 201, again.text


async def test_the_other_processes_follow(http: httpx.Client, node: Node) -> None:
    await asyncio.to_thread(http.post, "/api/v1/endpoints", json={"url": "http://127.0.0.1:8/v1", "name": "three"})
    await until(lambda: "three" in node.fleet.endpoints, 2, "another process to follow")
    await asyncio.to_thread(http.delete, "/api/v1/endpoints/three")
    await until(lambda: "three" not in node.fleet.endpoints, 2, "another process to follow")


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({}, "url"),
        ({"url": "nowhere"}, "url"),
        ({"url": "http://h/v1", "wieght": 2}, "wieght"),
        ({"url": "http://h/v1", "name": "one"}, "name"),
        ({"url": "http://h/v1", "api_key": "sk-1234567890"}, "api_key"),
        ({"url": "http://h/v1", "api_key": "${NOT_SET_ANYWHERE}"}, "api_key"),
    ],
)
async def test_what_can_not_be_used_is_refused(http: httpx.Client, node: Node, settings: dict[str, Any], param: str) -> None:
    refused = await asyncio.to_thread(http.post, "/api/v1/endpoints", json=settings)
    assert (refused.status_code, error_of(refused)["param"]) == (400, param)
    assert "sk-1234567890" not in refused.text
    assert not await node.redis.exists(keys.FLEET)


@pytest.mark.parametrize(
    ("name", "change", "status"),
    [
        ("nine", {"weight": 2}, 404),
        ("nine", {"draining": True}, 404),
        ("nine", {"draining": None}, 404),
        ("one", {}, 400),
        ("one", {"weight": -1}, 400),
        ("one", {"name": "other"}, 400),
        ("one", {"draining": "perhaps"}, 422),
    ],
)
def test_changes_that_are_none(http: httpx.Client, name: str, change: dict[str, Any], status: int) -> None:
    assert http.patch(f"/api/v1/endpoints/{name}", json=change).status_code == status
    assert http.delete("/api/v1/endpoints/nine").status_code == 404
