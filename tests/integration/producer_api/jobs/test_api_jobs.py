"""Jobs under /api/v1: requests in the body, progress, partial results, events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from live_server import (
    PATIENCE_S,
    Hands,
    LiveServer,
    StartServer,
    batch_line,
    batch_lines,
    create_batch,
    error_of,
    open_for_work,
    result_line,
    upload,
)

from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.store import KeyOrder
from jobs.node import Node
from producer_api.context import Limits as RequestLimits
from tests.waiting import until


def create(http: httpx.Client, **body: Any) -> dict[str, Any]:
    response = http.post("/api/v1/jobs", json=body)
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    return job


def input_of(http: httpx.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    content = http.get(f"/v1/files/{job['input_file_id']}/content").content
    return [orjson.loads(line) for line in content.splitlines()]


def test_prompts_make_a_job(http: httpx.Client) -> None:
    job = create(http, prompts=["one", "two\nlines"], model="m", max_tokens=5, metadata={"a": "b"}, priority=3)
    assert (job["status"], job["progress"], job["rate"], job["eta"]) == ("in_progress", 0.0, None, None)
    assert job["counts"] == {"total": 2, "completed": 0, "failed": 0, "cancelled": 0, "expired": 0, "in_progress": 2}
    assert (job["metadata"], job["priority"], job["models"]) == ({"a": "b"}, 3, ["m"])
    assert http.get(job["links"]["self"]).json() == job
    bodies = [{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": c}]} for c in ("one", "two\nlines")]
    assert input_of(http, job) == [
        {"custom_id": f"line-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies, start=1)
    ]


def test_prompts_messages_and_requests_go_together_and_their_own_fields_win(http: httpx.Client) -> None:
    requests = [
        {"prompt": "c", "custom_id": "mine", "temperature": 1},
        {"custom_id": "whole", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user"}], "n": 2}},
    ]
    job = create(http, requests=requests, messages=[[{"role": "system", "content": "b"}]], prompts=["a"], temperature=0, top_k=3)
    lines = input_of(http, job)
    assert [line["custom_id"] for line in lines] == ["line-1", "line-2", "mine", "whole"]
    assert [line["body"]["temperature"] for line in lines] == [0, 0, 1, 0]
    assert all(line["body"]["top_k"] == 3 for line in lines)
    assert lines[1]["body"]["messages"] == [{"role": "system", "content": "b"}]


def test_many_prompts_are_taken_whole(http: httpx.Client) -> None:
    prompts = [f"{number} " + "x" * 1000 for number in range(2000)]
    job = create(http, prompts=prompts)
    assert [line["body"]["messages"][0]["content"] for line in input_of(http, job)] == prompts


def test_a_job_is_made_of_an_uploaded_file(http: httpx.Client) -> None:
    file = upload(http, batch_lines(4))
    job = create(http, input_file_id=file["id"], completion_window="90s")
    assert (job["input_file_id"], job["counts"]["total"]) == (file["id"], 4)
    assert job["timestamps"]["expires_at"] - job["timestamps"]["created_at"] == 90


def test_requests_that_can_not_be_used_make_a_failed_job(http: httpx.Client) -> None:
    job = create(http, requests=[{"prompt": "good"}, {"prompt": 5}, {"custom_id": "x"}])
    assert (job["status"], job["progress"]) == ("failed", 1.0)
    assert [(error["line"], error["code"]) for error in job["errors"]] == [
        (2, "invalid_value"),
        (3, "missing_required_parameter"),
    ]
    assert http.get(job["links"]["results"]).content == b""
    unknown = create(http, prompts=["a"], model="gpt-unknown")
    assert [error["code"] for error in unknown["errors"]] == ["model_not_found"]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 422, None),
        ({"prompts": []}, 422, None),
        ({"prompts": ["a"], "input_file_id": "file-unknown1"}, 422, None),
        ({"input_file_id": "file-unknown1", "temperature": 1}, 422, None),
        ({"prompts": ["a"], "stream": True}, 422, None),
        ({"prompts": ["a"], "prompt": "b"}, 422, None),
        ({"prompts": "a"}, 422, "prompts"),
        ({"prompts": ["a", 1]}, 422, "prompts[1]"),
        ({"messages": [{"role": "user"}]}, 422, "messages[0]"),
        ({"requests": ["a"]}, 422, "requests[0]"),
        ({"prompts": ["a"], "priority": 101}, 422, "priority"),
        ({"prompts": ["a"], "metadata": {"a": None}}, 422, "metadata.a"),
        ({"prompts": ["a"], "completion_window": "1y"}, 400, "completion_window"),
        ({"prompts": ["a"], "endpoint": "/v1/images"}, 422, None),
        ({"requests": [{"input": "a"}], "endpoint": "/v1/images"}, 400, "endpoint"),
        ({"prompts": ["a"], "checks": ["tidy"]}, 400, "checks"),
        ({"prompts": ["a"], "recheck": {"attempts": 1}}, 400, "recheck"),
        ({"prompts": ["a"], "metadata": {"k" * 65: "v"}}, 400, "metadata"),
        ({"input_file_id": "file-unknown1"}, 400, "input_file_id"),
    ],
)
def test_a_job_that_can_not_be_meant_is_refused_and_leaves_nothing(
    http: httpx.Client, body: dict[str, Any], status: int, param: str | None
) -> None:
    response = http.post("/api/v1/jobs", json=body)
    assert (response.status_code, error_of(response)["param"]) == (status, param)
    assert http.get("/v1/files").json()["data"] == []
    assert http.get("/api/v1/jobs").json()["data"] == []


@pytest.mark.parametrize("levels", [190, 210, 251, 253])
def test_a_request_on_the_border_of_too_deep_is_taken_or_named(http: httpx.Client, levels: int) -> None:
    body = b'{"requests": [{"prompt": "a", "x": ' + b"[" * levels + b"]" * levels + b"}]}"
    response = http.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, len(response.json()["errors"])) == (201, int(levels > 200))


def test_a_request_that_is_nested_too_deeply_is_refused(http: httpx.Client) -> None:
    nested = b"[" * 500 + b"]" * 500
    body = b'{"requests": [{"prompt": "a", "x": ' + nested + b"}]}"
    response = http.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, error_of(response)["param"]) == (422, "requests")


def test_a_body_over_the_limit_is_refused(start: StartServer) -> None:
    server = start(limits=RequestLimits(json_bytes=1000))
    headers = {"content-type": "application/json"}
    body = orjson.dumps({"prompts": ["x" * 1000]})
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        refused = http.post("/api/v1/jobs", content=body, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (413, "request_too_large")
        refused = http.post("/v1/batches", content=iter([body[:600], body[600:]]), headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (413, "request_too_large")
        assert http.post("/api/v1/jobs", json={"prompts": ["x" * 900]}).status_code == 201


def test_jobs_are_listed_newest_first(http: httpx.Client) -> None:
    ids = [create(http, prompts=["a"])["id"] for _ in range(3)]
    page = http.get("/api/v1/jobs?limit=2").json()
    assert ([job["id"] for job in page["data"]], page["has_more"], page["last_id"]) == (ids[:0:-1], True, ids[1])
    assert [job["id"] for job in http.get(f"/api/v1/jobs?after={ids[1]}").json()["data"]] == ids[:1]
    refused = http.get("/api/v1/jobs?limit=0")
    assert (refused.status_code, error_of(refused)["param"]) == (422, "limit")


def test_a_deleted_job_is_cancelled_and_its_lines_accounted_for(http: httpx.Client) -> None:
    job = create(http, prompts=["a", "b"])
    http.delete(f"/api/v1/jobs/{job['id']}")
    ended = http.get(f"/api/v1/jobs/{job['id']}").json()
    assert (ended["status"], ended["progress"], ended["counts"]["cancelled"], ended["eta"]) == ("cancelled", 1.0, 2, None)
    assert ended["links"]["errors"] == f"/v1/files/{ended['error_file_id']}/content"
    lines = http.get(job["links"]["results"]).content.splitlines()
    assert [orjson.loads(line)["error"]["code"] for line in lines] == ["batch_cancelled"] * 2
    assert http.delete(f"/api/v1/jobs/{job['id']}").json() == ended


@pytest.mark.parametrize("path", ["", "/results", "/events"])
def test_jobs_that_are_none_are_not_found(http: httpx.Client, path: str) -> None:
    for job_id in ("batch_unknown1", "%2e%2e", "job"):
        response = http.get(f"/api/v1/jobs/{job_id}{path}")
        assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


@asynccontextmanager
async def client_of(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


class Reader:
    """Reads a job's results, from where it stopped."""

    def __init__(self, client: httpx.AsyncClient, job_id: str) -> None:
        self._client = client
        self._path = f"/api/v1/jobs/{job_id}/results"
        self.next = 0
        self.status = ""

    async def read(self) -> list[int]:
        """Return the numbers of the lines that came."""
        response = await self._client.get(self._path, params={"start": self.next})
        assert response.headers["content-type"] == "application/x-ndjson"
        self.next = int(response.headers["x-roadbalancer-next"])
        self.status = response.headers["x-roadbalancer-job-status"]
        return [int(orjson.loads(line)["custom_id"][1:]) for line in response.content.splitlines()]


async def test_results_are_read_while_the_job_runs_and_after(http: httpx.Client, server: LiveServer, node: Node) -> None:
    await open_for_work(node)
    job = await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(40))["id"]))
    hands = Hands(node, job["id"])
    async with client_of(server) as client:
        reader = Reader(client, job["id"])
        assert (await reader.read(), reader.next, reader.status) == ([], 0, "in_progress")
        await hands.finish([0, 1, 3, 39], failed=[2])
        assert (await reader.read(), reader.next) == ([0, 1, 2, 3, 39], 4)
        assert (await reader.read(), reader.next) == ([39], 4)  # what stands behind the gap comes again
        await hands.finish([*range(5, 30)])
        assert (await reader.read(), reader.next) == ([*range(5, 30), 39], 4)
        await hands.finish([4])
        assert (await reader.read(), reader.next) == ([*range(4, 30), 39], 30)
        await hands.finish([*range(30, 39)])
        assert (await reader.read(), reader.next) == ([*range(30, 40)], 40)
        await hands.end()
        assert (await reader.read(), reader.next, reader.status) == ([], 40, "completed")
        reader.next = 0
        assert (await reader.read(), reader.next) == ([*range(40)], 40)  # the failed line stands in its place
        reader.next = 38
        assert await reader.read() == [38, 39]


async def test_lines_behind_those_of_a_cancelled_job_are_kept(http: httpx.Client, server: LiveServer, node: Node) -> None:
    await open_for_work(node)
    job = await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(10))["id"]))
    hands = Hands(node, job["id"])
    await hands.finish([1, 2])
    async with client_of(server) as client:
        cancelling = (await client.delete(f"/api/v1/jobs/{job['id']}")).json()
        assert cancelling["status"] == "cancelling"  # a worker has lines of it
        for first in await node.service.shards.open_of(job["id"]):
            await node.service.shards.give_back(job["id"], first)
        ended = (await client.delete(f"/api/v1/jobs/{job['id']}")).json()
        assert (ended["status"], ended["counts"]["completed"], ended["counts"]["cancelled"]) == ("cancelled", 2, 8)
        assert ended["rate"] is not None
        lines = (await client.get(f"/api/v1/jobs/{job['id']}/results")).content.splitlines()
    assert lines[1:3] == [result_line(job["id"], 1), result_line(job["id"], 2)]
    assert [orjson.loads(line)["custom_id"] for line in lines] == [f"c{n}" for n in range(10)]


async def test_results_whose_files_were_deleted_are_not_found(http: httpx.Client, node: Node) -> None:
    job = await asyncio.to_thread(create, http, prompts=["a"])
    await asyncio.to_thread(http.delete, f"/api/v1/jobs/{job['id']}")
    ended = await node.service.jobs.get(job["id"])
    await node.service.files.delete(str(ended.error_file_id))
    response = await asyncio.to_thread(http.get, job["links"]["results"])
    assert (response.status_code, error_of(response)["code"]) == (404, "results_deleted")


class Events:
    """Reads server-sent events."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.headers["content-type"].startswith("text/event-stream")
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, dict[str, Any]] | None:
        """Return the next event and its job, None at the end of the stream."""
        name = ""
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return name, orjson.loads(line.removeprefix("data: "))
        return None


async def test_progress_is_sent_as_it_happens_and_the_end_closes_the_stream(
    http: httpx.Client, server: LiveServer, node: Node
) -> None:
    await open_for_work(node)
    job = await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(4))["id"]))
    hands = Hands(node, job["id"])
    async with client_of(server) as client, client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as response:
        events = Events(response)
        name, seen = await events.next() or ("", {})
        assert (name, seen["counts"]["completed"]) == ("progress", 0)
        await hands.finish([0, 1])
        while seen["counts"]["completed"] < 2:
            name, seen = await events.next() or ("", {})
        assert (name, seen["progress"], seen["tokens"]["total"]) == ("progress", 0.5, 30)
        await hands.finish([2], failed=[3])
        await hands.end()
        while name != "end":
            name, seen = await events.next() or ("", {})
        assert (seen["status"], seen["counts"]["failed"]) == ("completed", 1)
        assert await events.next() is None


async def test_an_ended_job_ends_its_events_at_once(http: httpx.Client, server: LiveServer) -> None:
    job = await asyncio.to_thread(create, http, requests=[{"prompt": 1}])
    async with client_of(server) as client, client.stream("GET", job["links"]["events"]) as response:
        events = Events(response)
        assert [(await events.next() or ("",))[0] for _ in range(3)] == ["progress", "end", ""]


async def test_a_watcher_that_goes_away_is_forgotten(http: httpx.Client, server: LiveServer) -> None:
    job = await asyncio.to_thread(create, http, prompts=["a"])
    state = server.server.server_state
    async with client_of(server) as client, client.stream("GET", job["links"]["events"]) as response:
        assert await Events(response).next()
        assert len(state.tasks) == 1
    async with asyncio.timeout(PATIENCE_S):
        while state.tasks:
            await asyncio.sleep(0.01)


async def test_a_server_that_stops_ends_its_events(http: httpx.Client, start: StartServer) -> None:
    job = await asyncio.to_thread(create, http, prompts=["a"])
    server = start()
    async with client_of(server) as client, client.stream("GET", job["links"]["events"]) as response:
        events = Events(response)
        assert await events.next()
        await asyncio.to_thread(server.stop)
        assert await events.next() is None


async def test_batch_lines_in_a_body_keep_their_order(http: httpx.Client) -> None:
    requests = [orjson.loads(batch_line(f"r{n}")) for n in range(300)]
    job = await asyncio.to_thread(create, http, requests=requests)
    assert [line["custom_id"] for line in await asyncio.to_thread(input_of, http, job)] == [f"r{n}" for n in range(300)]


def test_a_repeated_request_with_an_idempotency_key_makes_one_job(http: httpx.Client) -> None:
    body = {"prompts": ["one", "two"], "model": "m"}
    answers = [http.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "order-1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(http.get("/v1/files").json()["data"]) == 1, "the input was kept more than once"
    other = http.post("/api/v1/jobs", json={**body, "model": "n"}, headers={"Idempotency-Key": "order-1"})
    assert (other.status_code, error_of(other)["code"]) == (409, "idempotency_key_reused")
    assert create(http, **body)["id"] != answers[0].json()["id"], "without a key each request makes a job"
    another = http.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "order-2"}).json()
    assert another["id"] != answers[0].json()["id"]


def test_a_repeated_batch_with_an_idempotency_key_is_one_batch(http: httpx.Client) -> None:
    file = upload(http, batch_lines(3))
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    made = {http.post("/v1/batches", json=body, headers={"Idempotency-Key": "k"}).json()["id"] for _ in range(3)}
    assert len(made) == 1
    changed = http.post("/v1/batches", json={**body, "priority": 1}, headers={"Idempotency-Key": "k"})
    assert (changed.status_code, error_of(changed)["param"]) == (409, "Idempotency-Key")


async def test_the_same_request_sent_at_once_makes_one_job(http: httpx.Client) -> None:
    body = {"prompts": ["one"], "model": "m"}

    def send() -> Any:
        with httpx.Client(base_url=http.base_url) as client:
            return client.post("/api/v1/jobs", json=body, headers={"Idempotency-Key": "at once"}).json()["id"]

    made = await asyncio.gather(*(asyncio.to_thread(send) for _ in range(8)))
    assert len(set(made)) == 1
    assert len(http.get("/v1/files").json()["data"]) == 1


async def test_event_streams_count_among_the_requests_of_a_key_at_once(start: StartServer, redis: AsyncRedis) -> None:
    server = start()
    _, secret = await KeyStore(redis).create(KeyOrder("one", limits=Limits(parallel=1, rpm=1000), models=("m",)))
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENCE_S) as client:
        job = (await client.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m"})).raise_for_status().json()
        path = f"/api/v1/jobs/{job['id']}/events"
        async with client.stream("GET", path) as response:
            events = Events(response)
            assert (await events.next() or ("",))[0] == "progress"
            refused = await client.get(path)
            assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
            chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            assert (await client.post("/v1/chat/completions", json=chat)).status_code == 429

        async def is_free() -> bool:
            async with client.stream("GET", path) as again:
                return again.status_code == 200

        await until(is_free, what="the place of the stream that was left")
        await client.delete(f"/api/v1/jobs/{job['id']}")
        await until(lambda: ended_at_once(client, path), what="the place of the last one")


async def ended_at_once(client: httpx.AsyncClient, path: str) -> bool:
    return "event: end" in (await client.get(path)).text
