"""What dispatch and the janitor are tested with."""

from collections.abc import AsyncIterator

import pytest
from dispatch_process import DispatchProcess, endpoints

from balancer.routing import BalancingStrategy
from tests.job_bench import Bench


@pytest.fixture
async def process(bench: Bench) -> AsyncIterator[DispatchProcess]:
    made = DispatchProcess(bench, endpoints("a", "b"), BalancingStrategy.ROUND_ROBIN)
    await made.serve("a", "b")
    yield made
    await made.fleet.__aexit__(None, None, None)
