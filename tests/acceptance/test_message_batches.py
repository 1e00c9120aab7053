"""Message batches with Anthropic's own client, over real workers."""

import time
from typing import Any

import pytest

from tests.acceptance.cluster import Cluster
from tests.waiting import until

LINES = 40


def request(name: str, **params: Any) -> Any:
    content = [{"role": "user", "content": f"about {name}"}]
    return {"custom_id": name, "params": {"model": "simulated", "max_tokens": 30, "messages": content, **params}}


async def test_a_batch_goes_from_its_requests_to_its_results(cluster: Cluster) -> None:
    import anthropic  # here: it takes seconds to be imported

    model = await cluster.start_model("m", {"max_concurrency": 16}, latency=0.02)
    model.behave(fail_custom=["about fails"])
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    names = [f"q-{number}" for number in range(LINES)]
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        batch = client.messages.batches.create(requests=[*(request(name) for name in names), request("fails")])
        assert batch.processing_status == "in_progress"
        deadline = time.monotonic() + 60
        while batch.processing_status != "ended":
            assert time.monotonic() < deadline, batch
            batch = client.messages.batches.retrieve(batch.id)
        counts = batch.request_counts
        assert (counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired) == (0, LINES, 1, 0, 0)
        assert batch.ended_at is not None
        results = list(client.messages.batches.results(batch.id))
        assert [result.custom_id for result in results] == [*names, "fails"]
        for result in results[:-1]:
            assert result.result.type == "succeeded"
            [block] = result.result.message.content
            assert block.type == "text" and f"about {result.custom_id}" in block.text
            assert result.result.message.usage.output_tokens > 0
        last = results[-1].result
        assert last.type == "errored" and last.error.error.type == "invalid_request_error"
        assert [each.id for each in client.messages.batches.list(limit=5)] == [batch.id]
        assert client.messages.batches.delete(batch.id).id == batch.id
        with pytest.raises(anthropic.NotFoundError):
            list(client.messages.batches.results(batch.id))


async def test_a_batch_is_cancelled_and_keeps_what_is_finished(cluster: Cluster) -> None:
    import anthropic  # here: it takes seconds to be imported

    model = await cluster.start_model("m", {"max_concurrency": 4}, latency=0.2)
    cluster.write_config()
    await cluster.start_worker()
    _, url = await cluster.start_api()
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
        batch = client.messages.batches.create(requests=[request(f"q-{number}") for number in range(200)])
        with pytest.raises(anthropic.BadRequestError, match="has not ended"):
            client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=object)
        await until(lambda: model.stats["completed"] > 8, what="some answers")
        batch = client.messages.batches.cancel(batch.id)
        await until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended", what="the end")
        batch = client.messages.batches.retrieve(batch.id)
        assert batch.cancel_initiated_at is not None
        kinds = [result.result.type for result in client.messages.batches.results(batch.id)]
        assert set(kinds) == {"succeeded", "canceled"} and len(kinds) == 200
        assert kinds.count("succeeded") == batch.request_counts.succeeded
        assert kinds.count("canceled") == batch.request_counts.canceled
