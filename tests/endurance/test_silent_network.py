"""A network that is silent for longer than every timeout."""

from tests.acceptance.cluster import Cluster
from tests.acceptance.test_silent_network import check_silence


async def test_a_worker_takes_shards_again_soon_after_40_silent_seconds(cluster: Cluster) -> None:
    await check_silence(cluster, 40.0)
