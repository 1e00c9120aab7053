"""What an active check makes of an answer."""

import asyncio

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


@pytest.mark.parametrize("status", [200, 503])
async def test_answers_of_an_endpoint_that_was_removed_or_replaced_count_for_nothing(status: int) -> None:
    asked, answers = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.set()
        await answers.wait()
        return httpx.Response(status, json={"data": [{"id": "old"}]})

    endpoint = Endpoint("http://h/v1", "e")
    async with Fleet([endpoint], local_state([endpoint]), transport=httpx.MockTransport(answer)) as fleet:
        for replacement in (None, Endpoint("http://other/v1", "e")):
            check = asyncio.create_task(fleet.prober.check("e"))
            await asked.wait()
            fleet.remove("e")
            if replacement is not None:
                fleet.add(replacement)
            answers.set()
            await check
            if replacement is None:
                assert "e" not in fleet.endpoints and not fleet.catalog.has_asked("e")
                fleet.add(endpoint)
            asked.clear()
            answers.clear()
        assert fleet.health["e"].circuit is Circuit.CLOSED and not fleet.catalog.has_asked("e")


async def test_an_endpoint_that_is_removed_while_its_answer_is_shared_has_no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint("http://h/v1", "e")
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": [{"id": "m"}]}))
    async with Fleet([endpoint], local_state([endpoint]), transport=transport) as fleet:

        async def remove(name: str) -> None:
            fleet.remove(name)

        monkeypatch.setattr(fleet.health, "check_passed", remove)
        assert (await fleet.prober.check("e")).status == 200
        assert not fleet.catalog.has_asked("e")
