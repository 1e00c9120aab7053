"""What belongs to a key, no other key sees: files, batches, jobs, results and usage. Admins see all."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from live_server import PATIENCE_S, Hands, StartServer, batch_lines, create_batch, error_of, open_for_work, upload

from balancer.state import keys as balancer_keys
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.tally import Row, Tally
from jobs.access import KeyStore, Limits
from jobs.access.store import KeyOrder
from jobs.intake.files import Upload
from jobs.node import Node
from jobs.service import JobRequest
from jobs.storage import keys
from tests.key_spending import spend

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True)
class Keys:
    """Clients of one server: two owners, an admin; and the id of the first owner's key."""

    one: httpx.Client
    two: httpx.Client
    admin: httpx.Client
    one_id: str


@pytest.fixture
async def clients(start: StartServer, redis: AsyncRedis) -> AsyncIterator[Keys]:
    server = start()
    made = KeyStore(redis)
    orders = (KeyOrder("one"), KeyOrder("two"), KeyOrder("boss", admin=True))
    records = [await made.create(order) for order in orders]
    with ExitStack() as stack:
        one, two, admin = (stack.enter_context(_client(server.url, secret)) for _, secret in records)
        yield Keys(one, two, admin, records[0][0].id)


def _client(url: str, secret: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE_S)


def ids(response: httpx.Response) -> list[str]:
    return [entry["id"] for entry in response.json()["data"]]


def test_files_of_others_are_not_there(clients: Keys) -> None:
    mine, theirs = upload(clients.one, batch_lines(1))["id"], upload(clients.two, batch_lines(1))["id"]
    unknown = "file-" + "0" * 32
    for method, path in (("GET", "{}"), ("GET", "{}/content"), ("DELETE", "{}")):
        other, absent = (clients.two.request(method, "/v1/files/" + path.format(i)) for i in (mine, unknown))
        assert (other.status_code, absent.status_code) == (404, 404)
        # Word for word the same: that it exists is not seen.
        assert error_of(other)["message"].replace(mine, unknown) == error_of(absent)["message"]
    assert ids(clients.one.get("/v1/files")) == [mine]
    assert ids(clients.two.get("/files")) == [theirs]
    assert ids(clients.admin.get("/v1/files")) == [theirs, mine]
    assert clients.two.get("/v1/files", params={"after": mine}).status_code == 404
    for client in (clients.one, clients.admin):
        assert client.get(f"/v1/files/{mine}/content").content == batch_lines(1)
    assert clients.one.delete(f"/v1/files/{mine}").status_code == 200
    assert ids(clients.one.get("/v1/files")) == []


def test_batches_of_others_are_not_there(clients: Keys) -> None:
    mine = create_batch(clients.one, upload(clients.one, batch_lines(2))["id"])["id"]
    theirs = create_batch(clients.two, upload(clients.two, batch_lines(2))["id"])["id"]
    unknown = "batch_" + "0" * 32
    requests = [
        ("GET", "/v1/batches/{}"),
        ("POST", "/v1/batches/{}/cancel"),
        ("GET", "/api/v1/jobs/{}"),
        ("DELETE", "/api/v1/jobs/{}"),
        ("GET", "/api/v1/jobs/{}/results"),
        ("GET", "/api/v1/jobs/{}/events"),
        ("GET", "/v1/batches?after={}"),
        ("GET", "/api/v1/jobs?after={}"),
    ]
    for method, path in requests:
        other, absent = (clients.two.request(method, path.format(i)) for i in (mine, unknown))
        assert (other.status_code, absent.status_code) == (404, 404), path
        assert error_of(other)["message"].replace(mine, unknown) == error_of(absent)["message"]
    change = {"max_cost": 1.0}
    assert clients.two.patch(f"/api/v1/jobs/{mine}", json=change).status_code == 404
    for path in ("/v1/batches", "/api/v1/jobs"):
        assert ids(clients.one.get(path)) == [mine]
        assert ids(clients.two.get(path)) == [theirs]
        assert ids(clients.admin.get(path)) == [theirs, mine]
    assert clients.one.get(f"/v1/batches/{mine}").json()["status"] == "in_progress"
    assert clients.admin.post(f"/v1/batches/{mine}/cancel").status_code == 200
    assert clients.one.get(f"/v1/batches/{mine}").json()["status"] == "cancelled"


def test_no_key_makes_a_job_of_the_file_of_another(clients: Keys) -> None:
    mine = upload(clients.one, batch_lines(1))["id"]
    unknown = "file-" + "0" * 32
    for path, extra in (("/v1/batches", {"completion_window": "24h"}), ("/api/v1/jobs", {})):
        other, absent = (clients.two.post(path, json={"input_file_id": i, "endpoint": CHAT} | extra) for i in (mine, unknown))
        assert other.status_code == absent.status_code == 400
        assert error_of(other)["message"].replace(mine, unknown) == error_of(absent)["message"]
    assert ids(clients.two.get("/v1/batches")) == []
    # An admin may; then the job is the admin's.
    batch = create_batch(clients.admin, mine)["id"]
    assert clients.one.get(f"/v1/batches/{batch}").status_code == 404
    in_use = clients.one.delete(f"/v1/files/{mine}")
    assert in_use.status_code == 409 and batch not in in_use.text


async def test_results_belong_to_who_opened_the_job(clients: Keys, node: Node) -> None:
    await open_for_work(node)
    job = clients.one.post("/api/v1/jobs", json={"messages": [MESSAGES] * 3, "model": "m"}).json()["id"]
    await node.service.dispatcher.run()
    hands = Hands(node, job)
    await hands.finish([0, 1], failed=[2])
    await hands.end()
    ended = clients.one.get(f"/v1/batches/{job}").json()
    files = [ended[name] for name in ("input_file_id", "output_file_id", "error_file_id")]
    assert sorted(ids(clients.one.get("/v1/files"))) == sorted(files)
    assert ids(clients.two.get("/v1/files")) == []
    for file_id in files:
        assert clients.one.get(f"/v1/files/{file_id}/content").status_code == 200
        assert clients.two.get(f"/v1/files/{file_id}/content").status_code == 404
    assert clients.one.get(f"/api/v1/jobs/{job}/results").text.count("\n") == 3


async def test_what_was_made_without_a_key_is_for_admins(clients: Keys, node: Node) -> None:
    async def lines() -> Any:
        yield batch_lines(1)

    file = await node.service.files.add(Upload("in.jsonl"), lines())
    job = await node.service.submit(JobRequest(file.id, CHAT))
    for client, there in ((clients.one, False), (clients.admin, True)):
        assert (client.get(f"/v1/files/{file.id}").status_code == 200) is there
        assert (client.get(f"/v1/batches/{job.id}").status_code == 200) is there
        assert (job.id in ids(client.get("/v1/batches"))) is there


async def test_usage_is_shown_to_whose_it_is(clients: Keys, redis: AsyncRedis) -> None:
    today = datetime.now(UTC).date().isoformat()
    for owner, requests in ((clients.one_id, 2), ("key_other", 3), ("", 4)):
        await redis.hset(balancer_keys.usage(today), Row("openai", "m", "a", owner).packed(), Tally(requests=requests).packed())
    for client, total in ((clients.one, 2), (clients.two, 0), (clients.admin, 9)):
        answer = client.get("/api/v1/usage", params={"by": "key"}).json()
        assert answer["total"]["requests"] == total
    assert [row["key"] for row in clients.one.get("/api/v1/usage?by=key").json()["data"]] == [clients.one_id]


async def test_a_key_for_certain_models_opens_jobs_for_those_alone(start: StartServer, redis: AsyncRedis) -> None:
    _, secret = await KeyStore(redis).create(KeyOrder("small", models=("org/long-name",)))
    with _client(start().url, secret) as http:
        assert ids(http.get("/v1/models")) == ["org/long-name"]
        assert http.get("/v1/models/m").status_code == 404
        file = upload(http, batch_lines(1, "m"))["id"]
        refused = http.post("/v1/batches", json={"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"})
        assert (refused.status_code, error_of(refused)["code"]) == (403, "model_not_allowed")
        # Without a model, an endpoint would take the one that it likes.
        for body in ({"messages": [MESSAGES]}, {"messages": [MESSAGES], "model": "m"}):
            assert http.post("/api/v1/jobs", json=body).status_code == 403
        assert ids(http.get("/v1/files")) == [file]
        assert http.post("/api/v1/jobs", json={"messages": [MESSAGES], "model": "org/long-name"}).status_code == 201


async def test_a_key_whose_budget_is_spent_opens_no_job(start: StartServer, redis: AsyncRedis) -> None:
    record, secret = await KeyStore(redis).create(KeyOrder("poor", limits=Limits(budget_day=1.0, rpm=1)))
    with _client(start().url, secret) as http:
        file = upload(http, batch_lines(1))["id"]
        for _ in range(3):
            create_batch(http, file)
        await spend(redis, record.id, 10**9)
        for path, body in (
            ("/v1/batches", {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}),
            ("/api/v1/jobs", {"messages": [MESSAGES], "model": "m"}),
        ):
            refused = http.post(path, json=body)
            assert (refused.status_code, error_of(refused)["code"]) == (429, "insufficient_quota")
        assert ids(http.get("/v1/files")) == [file]


async def test_indexes_of_owners_forget_with_the_rest(clients: Keys, node: Node, redis: AsyncRedis) -> None:
    file = upload(clients.one, batch_lines(1))["id"]
    job = create_batch(clients.one, file)["id"]
    clients.one.post(f"/v1/batches/{job}/cancel")
    assert await redis.zcard(keys.jobs_of(clients.one_id)) == 1
    old = await node.service.jobs.ended_before(datetime.now(UTC).timestamp() + 60)
    assert len(old) == 1
    await node.service.jobs.forget(old)
    for record in (await node.service.files.page(10))[0]:
        await node.service.files.delete(record.id)
    assert await redis.exists(keys.jobs_of(clients.one_id), keys.files_of(clients.one_id)) == 0
