"""What the logs say of requests and jobs, and what they do not."""

import re
import signal
import subprocess
from typing import Any

import httpx
import orjson

from tests.acceptance.cluster import HTTP, Cluster, ended, free_port, submit
from tests.acceptance.shell import Shell
from tests.acceptance.test_fairness import ids
from tests.waiting import until

SECRET = "a-prompt-that-is-nobody's-business"


async def test_each_request_and_each_job_has_a_line(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 4}, latency=0.02)
    cluster.write_config()
    api, url = await cluster.start_api()
    worker = await cluster.start_worker()
    body = {"model": "simulated", "messages": [{"role": "user", "content": SECRET}]}
    for fields in ({}, {"stream": True}):
        HTTP.post(f"{url}/v1/chat/completions", params={"q": SECRET}, json=body | fields, headers={"x-request-id": "my-id"})
    HTTP.get(f"{url}/nowhere/{SECRET.replace(chr(39), '%0A')}")
    async with cluster.node() as node:
        job = await ended(node, await submit(node, ids("line", 20)))
    said = api.log.read_text()
    line = (
        r"INFO producer_api.requests: request method=POST path=/v1/chat/completions status=200 seconds=\d+\.\d+ key= "
        r"address=127\.0\.0\.1 model=simulated endpoint=m attempts=1 tokens=\d+ request_id=my-id\n"
    )
    assert len(re.findall(line, said)) == 2, said
    assert "status=404" in said and "path=/nowhere/a-prompt-that-is-nobody%0As-business " in said
    assert "content" not in said and SECRET not in said and "/health" not in said
    pattern = (
        rf"job_ended job={job.id} status=completed total=20 completed=20 failed=0 cancelled_lines=0 expired_lines=0 seconds=\d"
    )
    # The job has ended before its worker says so.
    await until(lambda: re.search(pattern, worker.log.read_text()), what="the line of the job")


async def test_who_did_what_is_in_the_audit_log(cluster: Cluster, shell: Shell) -> None:
    await cluster.start_model("m", {"price": {"input": 1000.0, "output": 1000.0}}, latency=0.02)
    kept = cluster.folder / "audit.jsonl"
    cluster.write_config(audit={"file": str(kept)}, log={"format": "json", "level": "info"})
    secret = shell("keys", "create", "team", "--config", str(cluster.config)).stdout.strip()
    admin = shell("keys", "create", "boss", "--admin", "--config", str(cluster.config)).stdout.strip()
    api, url = await cluster.start_api()
    worker = await cluster.start_worker()
    headers = {"authorization": f"Bearer {secret}", "x-request-id": "my-id"}
    body = {"model": "simulated", "messages": [{"role": "user", "content": SECRET}]}
    assert HTTP.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code == 200
    assert HTTP.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": "Bearer wrong"}).status_code == 401
    made = HTTP.post(f"{url}/api/v1/jobs", json={"prompts": [SECRET], "model": "simulated"}, headers=headers).json()
    async with cluster.node() as node:
        await ended(node, await node.service.jobs.get(made["id"]))
    HTTP.delete(f"{url}/api/v1/keys/team", headers={"authorization": f"Bearer {admin}"}).raise_for_status()

    def audited() -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for line in kept.read_bytes().splitlines():
            event = orjson.loads(line)
            found.setdefault(event["event"], []).append(event)
        return found

    def is_whole() -> bool:
        """Whether all has been written: a request when its answer has been sent, the end of a job after it."""
        found = audited()
        return len(found["request"]) == 4 and "job_ended" in found

    await until(is_whole)
    found = audited()
    key = found["key_created"][0]
    assert key["name"] == "team" and key["by"].startswith("user:")
    chat, refused, _, revoking = found["request"]
    assert {name: chat[name] for name in ("method", "path", "status", "key", "key_name", "model", "endpoint", "request_id")} == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "key": key["key"],
        "key_name": "team",
        "model": "simulated",
        "endpoint": "m",
        "request_id": "my-id",
    }
    assert chat["tokens"] > 0 and chat["cost"] == chat["tokens"] * 1e-3
    assert (refused["status"], refused["key"]) == (401, "")
    [created], [job] = found["job_created"], found["job_ended"]
    assert (created["job"], created["by"], created["key"]) == (made["id"], key["key"], key["key"])
    assert (job["job"], job["key"], job["status"]) == (made["id"], key["key"], "completed") and job["cost"] > 0
    [gone] = found["key_revoked"]
    assert (gone["key"], gone["by"]) == (key["key"], found["key_created"][1]["key"])
    assert gone["request_id"] == revoking["request_id"] and revoking["route"] == "/api/v1/keys/{key}"
    for said in (kept.read_text(), api.log.read_text(), worker.log.read_text()):
        assert SECRET not in said and secret not in said
    assert oct(kept.stat().st_mode)[-3:] == "600"
    for process in (api, worker):
        lines = [orjson.loads(line) for line in process.log.read_bytes().splitlines()]
        assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, lines))


async def test_up_logs_as_much_as_it_is_asked_to(shell: Shell) -> None:
    refused = shell("up", "--log-level", "loud")
    assert refused.returncode == 2 and "DEBUG, INFO, WARNING, ERROR" in refused.stderr
    port = free_port()
    shell.environment["ROADBALANCER_HOME"] = str(shell.folder / "home")
    running = shell.begin("up", "--port", str(port), "--flower-port", "0", "--workers", "1", "--log-level", "info")

    def answers() -> bool:
        body = {"messages": [{"role": "user", "content": SECRET}]}
        try:
            return HTTP.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        await until(answers, 60, "an answer")
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
    said = (shell.folder / "begun.log").read_text()
    assert "request method=POST path=/v1/chat/completions status=200" in said
    assert SECRET not in said
