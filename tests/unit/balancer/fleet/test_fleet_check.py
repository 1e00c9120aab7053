"""What an active check makes of an answer."""

import httpx
import pytest

from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.state.health import Circuit
from balancer.state.shared_state import local_state


@pytest.mark.parametrize(
    ("status", "key", "circuit"),
    [
        (200, None, Circuit.CLOSED),
        (404, None, Circuit.CLOSED),  # no list of models: alive all the same
        (401, "k", Circuit.OPEN),  # the key is refused
        (401, None, Circuit.CLOSED),  # the list wants a key; chats may not
        (403, "k", Circuit.CLOSED),  # a key that may not list models
        (503, None, Circuit.OPEN),
    ],
)
async def test_what_a_check_means_for_the_circuit(status: int, key: str | None, circuit: Circuit) -> None:
    endpoint = Endpoint("http://h/v1", "e", api_key=key)
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json={"data": []}))
    async with Fleet([endpoint], local_state([endpoint]), transport=transport) as fleet:
        await fleet.prober.check("e")
        assert fleet.health["e"].circuit is circuit
