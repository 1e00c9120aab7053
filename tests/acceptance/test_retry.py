"""Lines of an ended job are sent again, by real workers after a change of the configuration."""

import signal
from collections import Counter

import httpx
import orjson

from balancer.outcome import FailureKind
from jobs.results.verify import verify_job
from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.base import KEY, Script

LINES = 100
KEYED = frozenset(range(0, LINES, 20))
"""Lines that only the endpoint whose key is wrong can answer."""


async def test_after_a_wrong_key_only_the_lines_that_failed_are_sent(cluster: Cluster) -> None:
    price = {"input": 1000.0, "output": 0.0}
    good = await cluster.start_model("good", {"models": ["good"], "price": price}, latency=0.02)
    ids = [f"r-{number:03d}" for number in range(LINES)]
    with ProviderServer(FAKE_PROVIDERS["openai"]) as keyed:
        wrong = keyed.fake.fail(FailureKind.AUTHENTICATION)
        assert wrong is not None
        keyed.answer = wrong
        keyed_endpoint = {
            "name": "keyed",
            "url": f"{keyed.address}/v1",
            "provider": "openai",
            "models": ["keyed"],
            "price": price,
        }
        cluster.settings["endpoints"].append({**keyed_endpoint, "api_key": KEY})
        cluster.write_config()
        worker = await cluster.start_worker()
        async with cluster.node() as node:
            models = {custom_id: "keyed" if n in KEYED else "good" for n, custom_id in enumerate(ids)}
            job = await ended(node, await submit(node, ids, model=models.__getitem__, window="6s"))
            assert (job.status, job.ledger.completed, job.ledger.expired) == ("expired", LINES - len(KEYED), len(KEYED))
            paid = job.cost
        worker.kill(signal.SIGTERM)
        keyed.answer, refused_before, sent = Script(), len(keyed.received), good.stats["requests"]
        cluster.settings["endpoints"][1]["max_concurrency"] = 2
        cluster.write_config()
        _, api = await cluster.start_api()
        answer = httpx.post(f"{api}/v1/batches/{job.id}/retry", json={"errors": ["batch_expired"], "completion_window": "60s"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["request_counts"] == {"total": LINES, "completed": LINES - len(KEYED), "failed": 0}
        await cluster.start_worker()
        async with cluster.node() as node:
            job = await ended(node, job)
            _, errors = await check_each_once(node, job, ids)
            assert errors == [] and job.cost > paid
            assert (await verify_job(node.service, node.objects, job)).holds
    assert good.stats["requests"] == sent, "what was answered is not asked again"
    again = [orjson.loads(body)["user"] for body in keyed.bodies[refused_before:]]
    assert Counter(again) == Counter(ids[n] for n in KEYED)
    shown = httpx.get(f"{api}/api/v1/jobs/{job.id}").json()
    assert [(each["completed"], each["sent_again"]) for each in shown["earlier"]] == [(LINES - len(KEYED), len(KEYED))]
    refused = httpx.post(f"{api}/api/v1/jobs/{job.id}/retry", json={})
    assert refused.status_code == 400 and "has no failed lines" in refused.text
    assert httpx.post(f"{api}/api/v1/jobs/{job.id}/retry", json={"line": "5"}).status_code in (400, 422)
