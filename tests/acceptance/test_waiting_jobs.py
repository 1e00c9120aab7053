"""A job says why it waits, wherever it is looked at."""

import time

from jobs.records import Job
from jobs.records.waiting import Waiting
from tests.acceptance.cluster import HTTP, Cluster, ended, submit
from tests.acceptance.shell import Shell
from tests.acceptance.test_fairness import ids
from tests.waiting import until


async def test_a_job_whose_endpoint_is_down_or_limits_says_so(cluster: Cluster, shell: Shell) -> None:
    shell.environment["ROADBALANCER_CONFIG"] = str(cluster.config)
    model = await cluster.start_model("m", {"max_concurrency": 4}, latency=0.02)
    cluster.write_config()
    _, url = await cluster.start_api()
    model.kill()
    await cluster.start_worker()
    async with cluster.node() as node:
        job = await submit(node, ids("line", 20))

        async def waits() -> Waiting | None:
            found: Job = await node.service.jobs.get(job.id)
            return found.waiting if found.waiting and "connection_error" in found.waiting.reason else None

        waiting = await until(waits, what="a reason")
        assert waiting.next_attempt_at is not None and waiting.next_attempt_at - time.time() < 60
        assert "is waiting because" in (said := shell("status", job.id).stdout) and "connection_error" in said
        waiting = HTTP.get(f"{url}/api/v1/jobs/{job.id}").json()["waiting"]
        assert "connection_error" in waiting["reason"] and isinstance(waiting["next_attempt_at"], int)
        model.start()
        job = await ended(node, job)
        assert job.waiting is None
        model.behave(fault="429", retry_after=30)
        limited = await submit(node, ids("more", 20))

        async def is_limited() -> bool:
            found = await node.service.jobs.get(limited.id)
            return found.waiting is not None and "rate_limit_exceeded" in found.waiting.reason

        await until(is_limited, what="a reason of the limit")
        await node.service.cancel(limited.id)
