"""The end and the pauses of a job reach its webhook, whichever worker is killed meanwhile."""

import asyncio
import base64

from openai import OpenAI

from tests.acceptance.cluster import HTTP, Cluster
from tests.receiver import Receiver
from tests.waiting import until

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


async def test_events_arrive_although_a_worker_is_killed(cluster: Cluster) -> None:
    await cluster.start_model("m", latency=0.01)
    cluster.settings["webhooks"] = {"private_addresses": True}
    cluster.write_config()
    first = await cluster.start_worker()
    _, url = await cluster.start_api()
    with Receiver(lambda number: 503 if number == 0 else 200) as receiver:
        webhook = {"url": receiver.url, "secret": SECRET}
        body = {"prompts": [f"about {n}" for n in range(40)], "model": "simulated", "canary": {"lines": 5}, "webhook": webhook}
        job = (await asyncio.to_thread(HTTP.post, f"{url}/api/v1/jobs", json=body)).json()
        assert job["webhook"]["url"] == receiver.url
        assert SECRET not in str(job)
        await until(lambda: attempts(f"{url}/api/v1/jobs/{job['id']}/webhook") == [503], 30, "the pause to be sent, and refused")
        first.kill()
        await cluster.start_worker()
        await until(lambda: len(receiver.received) == 2, 30, "it to be sent again by the other worker")
        await asyncio.to_thread(HTTP.patch, f"{url}/api/v1/jobs/{job['id']}", json={"canary": None})
        await until(lambda: len(receiver.received) == 3, 60, "the end to be sent")
        client = OpenAI(api_key="none", webhook_secret=SECRET)
        events = [client.webhooks.unwrap(each.body, each.headers) for each in receiver.received]
        assert [event.type for event in events] == ["batch.paused", "batch.paused", "batch.completed"]
        assert events[0].id == events[1].id != events[2].id
        assert events[2].data.id == job["id"]
        deliveries = (await asyncio.to_thread(HTTP.get, f"{url}/api/v1/jobs/{job['id']}/webhook")).json()["data"]
        assert [each["state"] for each in deliveries] == ["delivered", "delivered"]
        assert attempts(f"{url}/api/v1/jobs/{job['id']}/webhook") == [503, 200, 200]


def attempts(url: str) -> list[int]:
    """Return the statuses of all attempts to deliver a job's events."""
    deliveries = HTTP.get(url).json()["data"]
    return [attempt["status"] for each in deliveries for attempt in each["attempts"]]


async def test_private_addresses_are_refused_unless_they_are_allowed(cluster: Cluster) -> None:
    await cluster.start_model("m")
    cluster.write_config()
    _, url = await cluster.start_api()
    body = {"prompts": ["a"], "model": "simulated", "webhook": {"url": "http://127.0.0.1:9/", "secret": SECRET}}
    answer = await asyncio.to_thread(HTTP.post, f"{url}/api/v1/jobs", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "webhook.url"
    assert "webhooks.private_addresses" in answer.json()["error"]["message"]
