"""Results of one line, of failed lines, and in pages, over HTTP and on the command line."""

import signal
from typing import Any

import httpx
import orjson
import pytest

from tests.acceptance.cluster import Cluster, Process, ended
from tests.acceptance.shell import Shell
from tests.waiting import until

LINES = 200
FAILED = [number for number in range(LINES) if number % 20 == 7]


def requests(**fields: Any) -> list[dict[str, Any]]:
    """Each twentieth fails; every other one repeats one before, if `fields` make requests repeatable."""
    found = []
    for number in range(LINES):
        content = f"bad {number}" if number in FAILED else f"question {number // 2}"
        found.append({"custom_id": f"r/{number}", "messages": [{"role": "user", "content": content}], **fields})
    return found


@pytest.mark.parametrize("fields", [{}, {"temperature": 0}], ids=["distinct", "repeated"])
async def test_single_results_and_pages(cluster: Cluster, fields: dict[str, Any]) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8}, latency=0.2)
    model.behave(fail_custom=["bad"])
    cluster.write_config()
    worker = await cluster.start_worker()
    _, url = await cluster.start_api()
    with httpx.Client(base_url=f"{url}/api/v1", trust_env=False) as client:
        await check_results(cluster, worker, client, fields)


async def check_results(cluster: Cluster, worker: Process, client: httpx.Client, fields: dict[str, Any]) -> None:
    job = client.post("/jobs", json={"requests": requests(**fields)}).raise_for_status().json()
    results = f"/jobs/{job['id']}/results"

    def one_of_the_first() -> httpx.Response | None:
        answer = client.get(f"{results}/r/1", params={"with_input": True})
        return answer if answer.status_code == 200 else None

    early = (await until(one_of_the_first, what="the result of a line")).json()
    worker.handle.send_signal(signal.SIGSTOP)
    try:
        late = client.get(f"{results}/r/{LINES - 1}")
        assert late.status_code == 409, "it is not finished yet"
        assert late.json()["error"]["code"] == "not_ready" and "line 200" in late.json()["error"]["message"]
    finally:
        worker.handle.send_signal(signal.SIGCONT)
    assert early["custom_id"] == "r/1" and early["request"]["messages"][0]["content"] == "question 0"
    async with cluster.node() as node:
        await ended(node, await node.service.jobs.get(job["id"]))
    everything = [orjson.loads(line) for line in client.get(results).content.splitlines()]
    assert [each["custom_id"] for each in everything] == [f"r/{number}" for number in range(LINES)]
    for number in (0, 1, 7, 46, 47, LINES - 1):
        assert client.get(f"{results}/r/{number}").json() == everything[number]
    unknown = client.get(f"{results}/r/{LINES}")
    assert unknown.status_code == 404 and "'r/200'" in unknown.json()["error"]["message"]

    failed = [each["custom_id"] for each in everything if each["custom_id"] in {f"r/{number}" for number in FAILED}]
    assert pages(client, results, {"status": "failed", "limit": 3}, "custom_id") == failed
    done = [each["custom_id"] for each in everything if each["custom_id"] not in failed]
    assert pages(client, results, {"status": "completed", "limit": 50}, "id") == done
    with_input = client.get(results, params={"status": "failed", "with_input": True, "after": "r/100"}).content.splitlines()
    assert [orjson.loads(line)["request"]["messages"][0]["content"] for line in with_input] == [
        f"bad {number}" for number in FAILED if number > 100
    ]
    found = client.get(results, params={"contains": "QUESTION 7", "status": "completed"})
    texts = [orjson.loads(line)["request"]["messages"][0]["content"] for line in found.content.splitlines()]
    assert texts == [f"question {number // 2}" for number in range(LINES) if number not in FAILED and str(number // 2)[0] == "7"]
    assert found.headers["x-roadbalancer-searched"] == str(LINES)
    for wrong in ({"state": "failed"}, {"status": "bad"}, {"limit": 0}, {"start": -1}, {"contains": ""}):
        answer = client.get(results, params=wrong)
        assert answer.status_code in (400, 422) and next(iter(wrong)) in answer.text
    assert client.get(f"{results}/r/1", params={"input": "1"}).status_code in (400, 422)
    assert client.get(results, params={"after": "unknown"}).status_code == 404


def pages(client: httpx.Client, path: str, params: dict[str, Any], key: str) -> list[str]:
    """Read page by page, from the last line's `key` on, and return the ids."""
    found: list[str] = []
    after: dict[str, str] = {}
    while lines := client.get(path, params={**params, **after}).raise_for_status().content.splitlines():
        assert len(lines) <= params["limit"]
        page = [orjson.loads(line) for line in lines]
        found += [each["custom_id"] for each in page]
        after = {"after": page[-1][key]}
    return found


async def test_the_command_shows_single_results_failed_ones_and_their_requests(shell: Shell, cluster: Cluster) -> None:
    model = await cluster.start_model("m", {"max_concurrency": 8})
    model.behave(fail_custom=["bad"])
    shell.configure(endpoints=[{"url": model.url, "name": "m"}])
    shell.write("in.jsonl", b"\n".join(orjson.dumps(request) for request in requests()))
    assert shell("run", "in.jsonl", "-o", "out.jsonl").returncode == 1
    job_id = shell("list").stdout.splitlines()[1].split()[0]
    one = shell("results", job_id, "--id", "r/47", "--with-input")
    assert one.returncode == 1, "some lines of the job failed"
    entry = orjson.loads(one.stdout)
    assert (entry["custom_id"], entry["request"]["messages"][0]["content"]) == ("r/47", "bad 47")
    failed = shell("results", job_id, "--failed").stdout.splitlines()
    assert [orjson.loads(line)["custom_id"] for line in failed] == [f"r/{number}" for number in FAILED]
    shell("results", job_id, "--with-input", "-o", "again.jsonl")
    assert [row["request"]["messages"] for row in shell.rows("again.errors.jsonl")] == [
        request["messages"] for number, request in enumerate(requests()) if number in FAILED
    ]
    assert all("request" in row for row in shell.rows("again.jsonl"))
    unknown = shell("results", job_id, "--id", "r/999")
    assert (unknown.returncode, unknown.stderr.strip()) == (2, "error: there is no line with the id 'r/999'")
