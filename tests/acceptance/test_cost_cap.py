"""A cap on what a job may cost, with real workers: it stops in time, loses nothing, and goes on."""

import random
import re
import shlex
from pathlib import Path

import orjson

from jobs.node import Node
from jobs.records import Job
from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.prefork import Prefork
from tests.acceptance.shell import Shell
from tests.waiting import until

LATENCY = 0.1
SLOTS = 8
LINES = 300
TOKENS = 3
"""Prompt tokens of each line, as the model server counts them: `about c-0001` has twelve characters."""
PRICE = {"input": 1000.0, "output": 0.0}
LINE_COST = TOKENS * PRICE["input"] / 1e6
CAP = LINES / 3 * LINE_COST


def ids(first: int, count: int) -> list[str]:
    return [f"c-{number:04d}" for number in range(first, first + count)]


async def paused(node: Node, job: Job) -> Job:
    """Wait until a job rests at its cap: nothing of it is in flight."""

    async def rests() -> Job | None:
        found = await node.service.jobs.get(job.id)
        return found if found.paused and not await node.service.held_by_workers(found) else None

    await until(rests, what="the job to pause")
    return await node.service.jobs.get(job.id)


async def test_a_capped_job_stops_at_a_third_and_goes_on_to_its_end(cluster: Cluster) -> None:
    settings = {"price": PRICE, "max_concurrency": SLOTS}
    model = await cluster.start_model("m", settings, latency=LATENCY)
    cluster.write_config()
    await cluster.start_worker()
    await cluster.start_worker()
    async with cluster.node() as node:
        mine, others = ids(0, LINES), ids(5000, 40)
        job = await paused(node, await submit(node, mine, max_cost=CAP))
        done = job.ledger.done
        # Each line costs the same, so that the last one that begins is the one that reaches the cap.
        assert done == LINES / 3
        assert model.stats["requests"] == done
        assert round(job.cost, 9) == round(done * LINE_COST, 9)
        # The fleet works on for others; some rounds of the janitor later nothing more has been sent of the paused job.
        other = await ended(node, await submit(node, others))
        await check_each_once(node, other, others)
        assert model.stats["requests"] == done + len(others)
        assert (await node.service.jobs.get(job.id)).ledger.done == done
        await node.service.limit_cost(job.id, 2 * LINES * LINE_COST)
        job = await ended(node, job)
        output, _ = await check_each_once(node, job, mine)
        assert model.seen() == dict.fromkeys([*mine, *others], 1)
        spent = sum(row["response"]["body"]["usage"]["prompt_tokens"] for row in output) * PRICE["input"] / 1e6
        assert round(job.cost, 9) == round(spent, 9) == round(LINES * LINE_COST, 9)


async def test_a_job_with_many_slots_overruns_its_cap_by_a_hundredth_at_most(cluster: Cluster) -> None:
    price = {"input": 1000.0, "output": 0.0}
    model = await cluster.start_model("m", {"price": price, "max_concurrency": 64}, latency=LATENCY)
    cluster.write_config()
    await cluster.start_worker()
    await cluster.start_worker()
    mine, sizes = ids(0, 2_000), random.Random(7)
    prompts = {name: "word " * sizes.randint(1, 60) for name in mine}
    cap = 0.5 * sum(map(len, prompts.values())) / 4 * price["input"] / 1e6
    async with cluster.node() as node:
        job = await paused(node, await submit(node, mine, prompt=prompts.__getitem__, max_cost=cap))
        assert cap <= job.cost <= 1.01 * cap
        assert model.stats["requests"] == job.ledger.done
        await node.service.limit_cost(job.id, None)
        assert (await ended(node, job)).ledger.completed == len(mine)


async def test_run_stops_at_its_cap_and_the_command_that_it_names_goes_on(tmp_path: Path, shell: Shell, prefork: Prefork) -> None:
    cluster = Cluster(tmp_path, prefork)
    try:
        model = await cluster.start_model("m", latency=LATENCY)
        shell.configure(endpoints=[{"url": model.url, "name": "m", "price": PRICE, "max_concurrency": SLOTS}])
        entries = [{"prompt": f"about {name}", "user": name} for name in ids(0, 90)]
        shell.write("in.jsonl", b"".join(orjson.dumps(entry) + b"\n" for entry in entries))
        first = shell("run", "in.jsonl", "--workers", "1", "--max-cost", "0.03")
        assert first.returncode == 1, first.stderr
        assert "the cap of $0.03 is reached" in first.stderr
        assert not (tmp_path / "in.results.jsonl").exists()
        sent = model.stats["requests"]
        assert 10 <= sent < 90
        again = shell("run", "in.jsonl", "--workers", "1", "--max-cost", "0.03")
        assert (again.returncode, model.stats["requests"]) == (1, sent)
        command = re.search(r"^go on +roadbalancer (.+)$", again.stderr, re.MULTILINE)
        assert command, again.stderr
        last = shell(*shlex.split(command[1]))
        assert last.returncode == 0, last.stderr
        assert len(shell.rows("in.results.jsonl")) == 90
        assert model.seen() == dict.fromkeys(ids(0, 90), 1)
    finally:
        cluster.end()


def test_a_cap_without_prices_and_a_bad_input_for_an_estimate_are_refused(shell: Shell) -> None:
    shell.configure(endpoints=[{"url": "http://127.0.0.1:9/v1", "name": "m", "models": ["llama"]}])
    shell.write("in.jsonl", '{"prompt": "a", "model": "llama"}\n')
    refused = shell("submit", "in.jsonl", "--max-cost", "1")
    assert refused.returncode == 2
    assert "have none: m (llama)" in refused.stderr
    shell.write("bad.jsonl", '{"prompt": "a"}\n{"prompt": 7}\n{"prompt": "b", "model": "absent"}\n')
    bad = shell("estimate", "bad.jsonl")
    assert bad.returncode == 2
    assert "line 2: `prompt` must be a string" in bad.stderr
    assert "line 3: no endpoint serves the model 'absent'" in bad.stderr
