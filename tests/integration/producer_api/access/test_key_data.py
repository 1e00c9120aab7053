"""What belongs to a key is deleted with one request, or when it is older than the key's retention; others' stays."""

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack

import httpx
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer, batch_lines, create_batch, upload

from balancer.outcome import Outcome
from balancer.state.redis_connection import AsyncRedis
from jobs.access import Caller, KeyRecord, KeyStore, Limits
from jobs.access.store import KeyOrder
from jobs.node import Node
from jobs.storage import keys, object_store
from jobs.upkeep.erasure import Erased, Erasure
from producer_api.http.errors import ApiError
from producer_api.responses.stored import StoredResponses
from workers.shards.answer_cache import AnswerCache

DAY = 86400


class Owner:
    """A key with a file, a cancelled job and its files, a response, and an answer that is kept for later jobs."""

    def __init__(self, http: httpx.Client, record: KeyRecord, node: Node, number: int) -> None:
        self.http = http
        self.record = record
        self.response = f"resp_{number:048x}"
        self.responses = StoredResponses(node.redis, node.objects)
        self.answers = AnswerCache(node.objects, record.id, DAY)

    async def fill(self) -> None:
        self.file = upload(self.http, batch_lines(2))["id"]
        self.job = create_batch(self.http, self.file)["id"]
        cancelled = self.http.post(f"/v1/batches/{self.job}/cancel").json()
        assert cancelled["status"] == "cancelled"
        await self.responses.save(self.record.id, [], [], {"id": self.response, "output": []})
        await self.answers.keep("ab" * 20, Outcome("one", 0.1, 200, b"{}"))

    async def has(self) -> tuple[int, int, bool, bool]:
        """How many files and jobs it has, and whether the response and the answer are there."""
        files, jobs = (len(self.http.get(path).json()["data"]) for path in ("/v1/files", "/v1/batches"))
        try:
            await self.responses.get(self.response, Caller(self.record.id, self.record.name, admin=False))
            response = True
        except ApiError:
            response = False
        return files, jobs, response, await self.answers.find("ab" * 20) is not None


@pytest.fixture
def server(start: StartServer) -> LiveServer:
    return start(api_keys=("an-admins-secret",))


@pytest.fixture
async def owners(server: LiveServer, node: Node) -> AsyncIterator[tuple[Owner, Owner]]:
    with ExitStack() as stack:
        made = []
        for number, name in enumerate(("one", "two")):
            record, secret = await KeyStore(node.redis).create(KeyOrder(name))
            headers = {"authorization": f"Bearer {secret}"}
            http = stack.enter_context(httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENCE_S))
            made.append(Owner(http, record, node, number))
            await made[-1].fill()
        yield made[0], made[1]


def delete_data(server: LiveServer, key: str, secret: str = "an-admins-secret") -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.delete(f"{server.url}/api/v1/keys/{key}/data", headers=headers, trust_env=False, timeout=PATIENCE_S)


async def test_all_that_a_key_has_is_deleted_and_nothing_of_others(
    server: LiveServer, owners: tuple[Owner, Owner], node: Node
) -> None:
    one, two = owners
    before = await two.has()
    assert before[1:] == (1, True, True) and before[0] >= 1
    files = (await one.has())[0]
    waiting = create_batch(one.http, one.file)["id"]
    found = delete_data(server, "one")
    assert found.json() == {"jobs": 2, "files": files + 1, "responses": 1, "answers": 1, "unfinished": 0}, (
        "with the errors of the second"
    )
    assert await one.has() == (0, 0, False, False)
    assert await two.has() == before
    for job in (one.job, waiting):
        assert not await node.objects.folder(object_store.job_folder(job))
        assert one.http.get(f"/v1/batches/{job}").status_code == 404
    left = [key async for key in node.redis.scan_iter(f"*{one.record.id}*")]
    assert left == [], "its id stands in no name of a key in Redis any more"
    assert delete_data(server, one.record.id).json()["jobs"] == 0, "a second time"


async def test_a_revoked_key_is_named_by_its_id(server: LiveServer, owners: tuple[Owner, Owner], redis: AsyncRedis) -> None:
    one, two = owners
    await KeyStore(redis).revoke("one")
    assert delete_data(server, "one").status_code == 404
    assert delete_data(server, "unknown").status_code == 404
    assert delete_data(server, one.record.id).json()["jobs"] == 1
    secret = two.http.headers["authorization"].removeprefix("Bearer ")
    assert delete_data(server, two.record.id, secret).status_code == 403, "not even its own, unless it is an admin's"
    assert (await two.has())[1] == 1


async def test_what_is_older_than_a_keys_retention_is_deleted(owners: tuple[Owner, Owner], node: Node) -> None:
    one, two = owners
    erasure = Erasure(node.redis, node.service.jobs, node.service.files, node.objects)
    await KeyStore(node.redis).change("one", Limits(retention=7 * DAY))
    before = await one.has(), await two.has()
    await erasure.apply_retention()
    assert (await one.has(), await two.has()) == before, "nothing is that old"
    new = upload(one.http, batch_lines(1))["id"]
    old = time.time() - 8 * DAY
    for owner in owners:
        for index in (keys.files_of(owner.record.id), keys.responses_of(owner.record.id), keys.jobs_of(owner.record.id)):
            members = [member for member in await node.redis.zrange(index, 0, -1) if member.decode() != new]
            await node.redis.zadd(index, dict.fromkeys(members, old))
        times = {name: int(old) for name in (await node.redis.hgetall(keys.job(owner.job))) if name.endswith(b"_at")}
        await node.redis.hset(keys.job(owner.job), mapping={**times, "at": int(old)})
    await erasure.apply_retention()
    files, jobs, response, answer = await one.has()
    assert (files, jobs, response) == (1, 0, False), "but the file that was uploaded since"
    assert answer, "it was kept a moment ago"
    assert await two.has() == before[1]


async def test_an_unfinished_job_stays_with_its_input(owners: tuple[Owner, Owner], node: Node) -> None:
    one, _ = owners
    job = create_batch(one.http, one.file)["id"]
    erasure = Erasure(node.redis, node.service.jobs, node.service.files, node.objects)
    erased = await erasure.erase(one.record.id)
    assert (erased.jobs, erased.unfinished) == (1, 1)
    assert one.http.get(f"/v1/batches/{job}").json()["status"] == "in_progress"
    assert one.http.get(f"/v1/files/{one.file}/content").status_code == 200
    with pytest.raises(ValueError, match="no key"):
        await erasure.erase("")


def test_what_two_calls_have_deleted_adds_up() -> None:
    both = Erased(1, 2, 3, 4, 5) + Erased(1, 1, 1, 1, 0)
    assert (both, both.total) == (Erased(2, 3, 4, 5, 0), 14)
