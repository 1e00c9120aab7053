"""How many files and bytes a key may store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer, batch_lines, error_of, upload

from balancer.state.redis_connection import AsyncRedis
from jobs.access import KeyStore, Limits
from jobs.access.store import KeyOrder

LINES = batch_lines(10)
CHAT = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}

Limited = Callable[..., Awaitable[httpx.Client]]


@pytest.fixture
def server(start: StartServer) -> LiveServer:
    return start()


@pytest.fixture
async def limited(server: LiveServer, redis: AsyncRedis) -> AsyncIterator[Limited]:
    """Makes a client with a key that has these limits."""
    clients: list[httpx.Client] = []

    async def make(**limits: int) -> httpx.Client:
        _, secret = await KeyStore(redis).create(KeyOrder("one", limits=Limits(**limits)))
        headers = {"authorization": f"Bearer {secret}"}
        clients.append(httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=PATIENCE_S))
        return clients[0]

    yield make
    for client in clients:
        client.close()


def refused(response: httpx.Response) -> bool:
    return (response.status_code, error_of(response).get("code")) == (403, "storage_limit_reached")


def send(http: httpx.Client, content: bytes = LINES) -> httpx.Response:
    return http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)})


async def test_files_are_counted_and_a_deleted_one_makes_room(limited: Limited) -> None:
    http = await limited(files=2)
    first = upload(http, LINES)["id"]
    upload(http, LINES)
    assert refused(send(http))
    assert http.delete(f"/v1/files/{first}").status_code == 200
    assert send(http).status_code == 200


async def test_bytes_are_counted_while_they_come(limited: Limited, store_folder: Path) -> None:
    http = await limited(stored_bytes=3 * len(LINES))
    for _ in range(2):
        upload(http, LINES)
    before = stored(store_folder)
    assert refused(send(http, 2 * LINES))
    assert stored(store_folder) == before, "nothing of it is kept"
    assert send(http).status_code == 200
    assert refused(send(http, b"x"))


async def test_of_uploads_at_once_no_more_are_kept_than_fit(limited: Limited) -> None:
    http = await limited(files=3)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: send(http), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [403] * 9
    assert len(http.get("/v1/files").json()["data"]) == 3


async def test_lines_in_a_request_are_a_file_too(limited: Limited) -> None:
    http = await limited(files=1)
    upload(http, LINES)
    assert refused(http.post("/api/v1/jobs", json={"prompts": ["Hello"]}))
    batch = {"requests": [{"custom_id": "a", "params": CHAT}]}
    answer = http.post("/v1/messages/batches", json=batch)
    assert answer.status_code == 403 and "may store 1" in answer.text
    assert http.get("/api/v1/jobs").json()["data"] == []


def stored(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))
