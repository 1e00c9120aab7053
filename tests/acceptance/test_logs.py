"""What the logs say of requests and jobs, and what they do not."""

import re
import signal
import subprocess

import httpx

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
        r"INFO producer_api.requests: request method=POST path=/v1/chat/completions status=200 seconds=\d+\.\d{3} key= id=my-id\n"
    )
    assert len(re.findall(line, said)) == 2
    assert "status=404" in said and "path=/nowhere/a-prompt-that-is-nobody%0As-business " in said
    assert "content" not in said and SECRET not in said and "/health" not in said
    pattern = (
        rf"job_ended id={job.id} status=completed total=20 completed=20 failed=0 cancelled_lines=0 expired_lines=0 seconds=\d"
    )
    assert re.search(pattern, worker.log.read_text())


async def test_up_logs_as_much_as_it_is_told(shell: Shell) -> None:
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
