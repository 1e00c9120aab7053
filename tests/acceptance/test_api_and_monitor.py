"""The API under fire with the official SDK, and what the monitor shows of a running job."""

import re
import socket
import sys
import time
from pathlib import Path

import httpx
import openai
import orjson

from api_roadbalancer.processes.ports import free_port
from tests.acceptance.cluster import HTTP, Cluster, Process, check_each_once, ended, submit
from tests.acceptance.test_nothing_is_lost import ids
from tests.waiting import until


def batch_file(folder: Path, count: int) -> Path:
    path = folder / "batch.jsonl"
    with path.open("wb") as file:
        for name in ids(count):
            body = {"model": "simulated", "messages": [{"role": "user", "content": f"about {name}"}], "user": name}
            file.write(orjson.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}) + b"\n")
    return path


async def test_the_official_sdk_takes_a_batch_from_upload_to_output_in_input_order(cluster: Cluster, tmp_path: Path) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=0.02)
    model.behave(fail_custom=["line-00013"])
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        file = client.files.create(file=batch_file(tmp_path, 200), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        deadline = time.monotonic() + 60
        while batch.status not in ("completed", "failed", "expired", "cancelled"):
            assert time.monotonic() < deadline, batch
            batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (200, 199, 1)
        assert batch.usage is not None and batch.usage.total_tokens > 0
        assert batch.output_file_id and batch.error_file_id
        output = [orjson.loads(line) for line in client.files.content(batch.output_file_id).iter_lines()]
        errors = [orjson.loads(line) for line in client.files.content(batch.error_file_id).iter_lines()]
        assert [row["custom_id"] for row in output] == [name for name in ids(200) if name != "line-00013"]
        assert [(row["custom_id"], row["response"]["status_code"]) for row in errors] == [("line-00013", 400)]
        assert client.batches.list(limit=1).data[0].id == batch.id


async def test_the_api_killed_mid_job_holds_nothing_up(cluster: Cluster, tmp_path: Path) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.05)
    cluster.write_config()
    await cluster.start_worker()
    api, url = await cluster.start_api()
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        file = client.files.create(file=batch_file(tmp_path, 400), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    await until(lambda: model.stats["completed"] > 50, what="the job to be under way")
    api.kill()
    async with cluster.node() as node:
        job = await ended(node, await node.service.jobs.get(batch.id))
        await check_each_once(node, job, ids(400))
    _, url = await cluster.start_api()
    assert HTTP.get(f"{url}/v1/batches/{batch.id}").json()["status"] == "completed"


async def test_results_can_be_read_while_the_job_runs(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 8}, latency=0.1)
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    prompts = [f"number {n}" for n in range(300)]
    job = HTTP.post(f"{url}/api/v1/jobs", json={"prompts": prompts, "max_tokens": 20}).raise_for_status().json()

    def some() -> list[bytes]:
        answer = HTTP.get(f"{url}/api/v1/jobs/{job['id']}/results").raise_for_status()
        assert answer.headers["x-roadbalancer-job-status"] in ("in_progress", "finalizing", "completed")
        return answer.content.splitlines()

    partial = await until(some, what="partial results")
    assert 0 < len(partial) < 300
    custom_ids = [orjson.loads(line)["custom_id"] for line in partial]
    assert len(set(custom_ids)) == len(custom_ids)
    assert HTTP.delete(f"{url}/api/v1/jobs/{job['id']}").status_code == 200


async def test_flower_shows_shards_readably_and_nothing_that_is_secret(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 4, "api_key": "sk-very-secret"}, latency=0.3)
    cluster.write_config()
    await cluster.start_worker()
    url = start_flower(cluster, FLOWER_BASIC_AUTH="someone:pass")
    await until(lambda: answers(url), what="Flower")
    async with cluster.node() as node:
        job = await submit(node, [f"classified-{n}" for n in range(60)])

        def shard_with_progress() -> str | None:
            tasks = HTTP.get(f"{url}/api/tasks", auth=("someone", "pass")).json().values()
            shown = [t for t in tasks if t["state"] == "PROGRESS" and "lines" in str(t["result"])]
            return shown[0]["args"] if shown else None

        arguments = await until(shard_with_progress, what="a shard's progress in Flower")
        assert re.fullmatch(rf"m · \d+-\d+ · …{job.id[-4:]}", arguments), arguments
        everything = HTTP.get(f"{url}/api/tasks", auth=("someone", "pass")).text
        assert "classified" not in everything and "sk-very-secret" not in everything
        assert "endpoint.m" in HTTP.get(f"{url}/broker", auth=("someone", "pass")).text
        assert HTTP.get(f"{url}/api/tasks").status_code == 401
        job = await ended(node, job)
    logs = b"".join(p.log.read_bytes() for p in cluster.processes if "worker" in p.command or "flower" in p.command)
    assert b"classified" not in logs and b"sk-very-secret" not in logs


def start_flower(cluster: Cluster, **environment: str) -> str:
    port = free_port()
    command = [sys.executable, "-m", "api_roadbalancer", "flower", "--config", str(cluster.config), "--port", str(port)]
    process = Process(command, cluster.folder / "flower.log", environment)
    process.start()
    cluster.processes.append(process)
    return f"http://127.0.0.1:{port}"


def answers(url: str) -> bool:
    try:
        return HTTP.get(f"{url}/healthcheck", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


async def test_no_page_of_another_site_commands_the_workers_through_flower(cluster: Cluster) -> None:
    await cluster.start_model("m")
    cluster.write_config()
    worker = await cluster.start_worker("--name", "w")
    url = start_flower(cluster)
    await until(lambda: answers(url), 30, "Flower")
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    name = f"w@{socket.gethostname()}"
    commands = ("worker/shutdown", "worker/queue/cancel-consumer", "worker/pool/restart")
    for path in ("/api/task/send-task/roadbalancer.shard", *(f"/api/{command}/{name}" for command in commands)):
        assert HTTP.post(url + path, headers=foreign).status_code in (401, 403)
        assert HTTP.post(url + path).status_code == 401  # the REST API wants a login
    for headers in (foreign, {"Host": "evil.example"}):
        assert HTTP.get(f"{url}/tasks", headers=headers).status_code == 403
    for page in ("/", "/tasks", "/broker"):
        assert HTTP.get(url + page, follow_redirects=True).status_code == 200
    assert worker.alive
