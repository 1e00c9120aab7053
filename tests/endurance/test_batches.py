"""A hundred workers killed while lines are with a provider as batches, for each of the batch APIs."""

import pytest

from tests.acceptance.cluster import Cluster
from tests.acceptance.test_batches import kill_at_random_moments, provider_of
from tests.fake_providers.batch_dialects import DIALECTS


@pytest.mark.parametrize("name", sorted(DIALECTS))
async def test_a_hundred_kills(cluster: Cluster, name: str) -> None:
    with provider_of(cluster, name) as provider:
        await kill_at_random_moments(cluster, provider, kills=100)
