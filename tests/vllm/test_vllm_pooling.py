"""Against a real vLLM server that was started with `--runner pooling`: `make test-vllm VLLM_POOLING_URL=http://host:8000/v1`."""

import os
from collections.abc import AsyncIterator

import pytest

from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.outcome import Outcome
from balancer.state.shared_state import local_state

URL = os.environ.get("VLLM_POOLING_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="VLLM_POOLING_URL names no server")


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    endpoint = Endpoint(URL, "pooling", provider="vllm")
    async with Fleet([endpoint], local_state([endpoint])) as fleet:
        yield fleet


async def answer(fleet: Fleet, path: str, body: dict[str, object]) -> Outcome:
    slot = await fleet.slot("pooling", body)
    assert slot is not None
    with slot:
        return await fleet.send(slot, path, body)


@pytest.mark.parametrize(
    ("path", "body", "count"),
    [
        ("/embeddings", {"input": ["Hello", "Good day"]}, "data"),
        ("/embeddings", {"input": ["Hello", "Good day"], "encoding_format": "base64"}, "data"),
        ("/score", {"text_1": "Hello", "text_2": ["Hello", "Good day"]}, "data"),
        ("/rerank", {"query": "Hello", "documents": ["Hello", "Good day"]}, "results"),
    ],
)
async def test_each_kind_is_answered_and_counted(fleet: Fleet, path: str, body: dict[str, object], count: str) -> None:
    outcome = await answer(fleet, path, body)
    assert outcome.failure is None and outcome.parsed is not None
    assert len(outcome.parsed[count]) == 2 and outcome.usage.prompt > 0
