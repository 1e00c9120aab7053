"""A job pauses after its canary, and goes on when that is confirmed."""

import os
import pty
import subprocess
from typing import Any

import httpx
import orjson
import pytest

from jobs.node import Node
from jobs.records import Job
from jobs.results.verify import verify_job
from tests.acceptance.cluster import Cluster, check_each_once, ended
from tests.acceptance.shell import COMMAND, Shell
from tests.waiting import until, until_blocking

LINES, CANARY = 100, 12


def prompts(**fields: Any) -> bytes:
    lines = (orjson.dumps({"prompt": f"number {n}", "user": f"line-{n}", **fields}) for n in range(1, LINES + 1))
    return b"\n".join(lines)


async def paused(node: Node, job_id: str) -> Job | None:
    job = await node.service.jobs.get(job_id)
    return job if job.paused and not await node.service.held_by_workers(job) else None


async def test_run_shows_the_canary_and_goes_on_when_it_is_confirmed(shell: Shell, cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.05)
    model.behave(fail_custom=['"line-3"'])
    shell.configure(endpoints=[{"url": model.url, "name": "m", "price": {"input": 1000.0, "output": 1000.0}}])
    shell.write("in.jsonl", prompts())
    run = ("run", "in.jsonl", "-o", "out.jsonl", "--canary", str(CANARY))
    first = shell(*run)
    assert first.returncode == 1 and model.stats["requests"] == CANARY
    assert sorted(model.seen()) == sorted(f"line-{n}" for n in range(1, CANARY + 1))
    printed = first.stderr
    assert f"{CANARY} of {LINES} requests are done" in printed and "number 1" in printed
    assert "11 completed, 1 failed: 1 fail_custom" in printed and "expected   about $" in printed
    assert "88 more requests, 32 at once" in printed
    assert not (shell.folder / "out.jsonl").exists()
    (confirm,) = [line.removeprefix("go on      roadbalancer ") for line in printed.splitlines() if line.startswith("go on")]
    assert confirm == "run in.jsonl -o out.jsonl --canary 12 --yes"
    again = shell(*run)
    assert again.returncode == 1 and model.stats["requests"] == CANARY, "it is shown again, and nothing is sent"
    last = shell(*confirm.split())
    assert last.returncode == 1, "one line failed"
    assert model.stats["requests"] == LINES
    assert [row["custom_id"] for row in shell.rows("out.jsonl")] == [f"line-{n}" for n in range(1, LINES + 1) if n != 3]


async def test_run_asks_on_a_terminal(shell: Shell, cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8})
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", prompts())
    for answer, code, sent in (("n", 1, CANARY), ("y", 0, LINES)):
        ours, theirs = pty.openpty()
        command = [*COMMAND, "run", "in.jsonl", "-o", "out.jsonl", "--canary", str(CANARY)]
        running = subprocess.Popen(command, cwd=shell.folder, env=shell.environment, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = bytearray()

        def question(ours: int = ours, seen: bytearray = seen) -> bool:
            seen.extend(os.read(ours, 65536))
            return b"requests? [y/N]" in seen

        until_blocking(question, what="the question")
        os.write(ours, answer.encode() + b"\n")
        until_blocking(lambda running=running, ours=ours: drained(ours) and running.poll() is not None, what="the end")
        os.close(ours)
        assert (running.returncode, model.stats["requests"]) == (code, sent)
        assert b"Send the other 88 requests?" in seen and b"canary" in seen


def drained(terminal: int) -> bool:
    """Read what has been printed, so that the program can go on printing."""
    os.set_blocking(terminal, False)
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass
    return True


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"canary": {"lines": CANARY}}, {}),
        ({"canary": {"lines": CANARY, "random": True}}, {}),
        ({"canary": {"lines": CANARY}, "order": "input"}, {"temperature": 0}),
    ],
    ids=["first", "random", "distinct"],
)
async def test_over_http_the_job_waits(cluster: Cluster, options: dict[str, Any], fields: dict[str, Any]) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8})
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    requests = [{"custom_id": f"r{n}", "user": f"r{n % 50}", **fields, "prompt": f"{n % 50}"} for n in range(LINES)]
    body = {"requests": requests, **options}
    job_id = httpx.post(f"{url}/api/v1/jobs", json=body).raise_for_status().json()["id"]
    async with cluster.node() as node:
        job = await until(lambda: paused(node, job_id), what="the pause after the canary")
        shown = httpx.get(f"{url}/api/v1/jobs/{job_id}").json()
        assert shown["paused"]["reason"] == "canary" and shown["canary"] == CANARY == model.stats["requests"]
        expected = {f"r{n}" for n in range(CANARY)}
        assert (set(model.seen()) == expected) is not options["canary"].get("random", False)
        other_cap = httpx.patch(f"{url}/api/v1/jobs/{job_id}", json={"max_cost": None})
        assert other_cap.json()["paused"]["reason"] == "canary"
        gone_on = httpx.patch(f"{url}/api/v1/jobs/{job_id}", json={"canary": None}).raise_for_status().json()
        assert gone_on["paused"] is None and gone_on["canary"] is None
        job = await ended(node, job)
        await check_each_once(node, job, [f"r{n}" for n in range(LINES)])
        assert (await verify_job(node.service, node.objects, job)).holds
    assert model.stats["requests"] == (50 if fields else LINES)
    refused = httpx.patch(f"{url}/api/v1/jobs/{job_id}", json={"canary": None})
    assert refused.status_code == 400 and "no canary to confirm" in refused.text
    assert httpx.post(f"{url}/api/v1/jobs", json={**body, "canary": {"lines": 0}}).status_code in (400, 422)
