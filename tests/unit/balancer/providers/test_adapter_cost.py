"""What translating costs: an adapter stands in the way of every request."""

import time

import pytest

from balancer.providers import adapter_for
from tests.fake_providers import FAKE_PROVIDERS, FakeProvider, ReceivedRequest, Script

BODY = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief. " * 20},
        {"role": "user", "content": "Why is the sky blue? " * 20},
        {"role": "assistant", "content": "Rayleigh scattering. " * 20},
        {"role": "user", "content": "And at dusk? " * 20},
    ],
    "max_tokens": 500,
}
MOST = 0.0001
"""Seconds of CPU beyond what passing OpenAI's format through costs."""
ROUNDS, CALLS = 7, 200


def cost(fake: FakeProvider) -> float:
    """Return the seconds of CPU for a request there and its answer back, in the best of some rounds."""
    endpoint = fake.endpoint("http://127.0.0.1:1", models={"m": "m"})
    adapter = adapter_for(endpoint.provider)
    reply = fake.whole_answer(Script("An answer of some length. " * 40), ReceivedRequest("m", ()))
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            call = adapter.call(endpoint, "/chat/completions", BODY)
            answer = adapter.answer(call, reply.status, reply.headers, reply.body)
        best = min(best, (time.process_time() - began) / CALLS)
    assert answer.failure is None
    return best


@pytest.mark.parametrize("name", FAKE_PROVIDERS)
def test_an_adapter_costs_less_than_a_tenth_of_a_millisecond(name: str) -> None:
    assert cost(FAKE_PROVIDERS[name]) - cost(FAKE_PROVIDERS["openai"]) < MOST
