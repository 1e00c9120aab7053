"""What dispatch and the janitor are tested with."""

from collections.abc import AsyncIterator

import pytest
from dispatch_house import House, endpoints

from balancer.routing import BalancingStrategy
from tests.job_bench import Bench


@pytest.fixture
async def house(bench: Bench) -> AsyncIterator[House]:
    made = House(bench, endpoints("a", "b"), BalancingStrategy.ROUND_ROBIN)
    await made.serve("a", "b")
    yield made
    await made.fleet.__aexit__(None, None, None)
