"""The files of the console, and what it asks the API for beside what others do."""

import asyncio
import hashlib

import httpx
import pytest
from live_server import PATIENCE_S, StartServer, batch_lines, error_of, upload

from jobs.node import Node
from jobs.upkeep.history import KEPT, history_of, take_samples
from producer_api.console import FOLDER

VENDORED = "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7"


def test_browsers_see_the_console_and_programs_what_there_is(http: httpx.Client) -> None:
    page = http.get("/", headers={"accept": "text/html"})
    assert "/console/app.js" in page.text
    assert "unsafe-inline" not in page.headers["content-security-policy"]
    assert http.get("/").json()["documentation"] == "/docs"


def test_the_page_opens_without_a_key(start: StartServer) -> None:
    server = start(api_keys=("root-key-of-this-server-0123456789",))
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        assert http.get("/", headers={"accept": "text/html"}).status_code == 200
        for path in sorted(FOLDER.rglob("*.*")):
            assert http.get(f"/console/{path.relative_to(FOLDER)}").status_code == 200, path
        assert http.get("/console/../app.py").status_code in (401, 404)
        assert http.get("/api/v1/jobs").status_code == 401


def test_the_vendored_library_is_the_published_one() -> None:
    (path,) = (FOLDER / "vendor").glob("*.js")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == VENDORED


def test_an_input_is_estimated_before_it_is_sent(http: httpx.Client) -> None:
    file = upload(http, batch_lines(8))["id"]
    found = http.post("/api/v1/estimates", json={"input_file_id": file}).json()
    assert (found["lines"], found["sampled"], found["output_tokens"] > 0, found["seconds"] > 0) == (8, False, True, True)
    assert [each["price_class"] for each in found["classes"]] == ["as configured"]
    assert http.get("/api/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(("body", "status"), [({"input_file_id": "file-" + "0" * 32}, 404), ({}, 422)])
def test_what_can_not_be_estimated(http: httpx.Client, body: dict[str, str], status: int) -> None:
    refused = http.post("/api/v1/estimates", json=body)
    assert refused.status_code == status
    assert error_of(refused)["message"]


async def test_the_last_hour_of_an_endpoint_is_kept(http: httpx.Client, node: Node) -> None:
    for _ in range(3):
        await take_samples(node.redis, node.fleet)
    found = (await asyncio.to_thread(http.get, "/api/v1/endpoints/one/history")).json()["data"]
    assert len(found) == 3
    assert found[0]["limit"] == 32
    assert (await asyncio.to_thread(http.get, "/api/v1/endpoints/nine/history")).status_code == 404
    await node.redis.lpush("rb:endpoint:one:history", *[b"{}"] * KEPT)
    await take_samples(node.redis, node.fleet)
    assert await node.redis.llen("rb:endpoint:one:history") == KEPT
    await node.redis.delete("rb:endpoint:one:history")
    assert await history_of(node.redis, "one") == []
