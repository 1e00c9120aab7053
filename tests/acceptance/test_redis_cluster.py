"""A Redis Cluster as one shard: all keys are on the node of one slot, which ends in the middle of a job."""

import asyncio
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from balancer.state.cluster import HASH_TAG, SLOT
from balancer.state.redis_connection import open_blocking_redis, open_redis
from tests.acceptance.cluster import Cluster
from tests.acceptance.lossy_proxy import LossyProxy
from tests.acceptance.redis_cluster import RedisCluster
from tests.acceptance.redis_failover import run_through_failover
from tests.certificates import write_certificate
from tests.waiting import until
from workers.messages import make_celery


@pytest.fixture
def redis_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    made = RedisCluster(tmp_path)
    yield made
    for process in made.servers.values():
        process.end()


@pytest.fixture
async def cluster_redis_url(redis_cluster: RedisCluster) -> str:
    await redis_cluster.start()
    return redis_cluster.url


async def test_a_job_outlives_the_node_that_has_its_keys(cluster: Cluster, redis_cluster: RedisCluster) -> None:
    first = redis_cluster.primary()
    await run_through_failover(cluster, redis_cluster, signal.SIGKILL)
    left = {port: redis_cluster.ask(port, "KEYS", "*") for port in redis_cluster.servers if port != first}
    keys = left.pop(redis_cluster.primary())
    assert keys and all(key.startswith(HASH_TAG.encode()) for key in keys)
    assert list(left.values()) == [[], []], "the other shards have nothing"


async def test_every_client_speaks_tls_to_a_cluster(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    port = await redis_cluster.start_one()
    certificate = write_certificate(tmp_path / "redis.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with LossyProxy(port, tls) as proxy:
        redis_cluster.ask(port, "CONFIG", "SET", "cluster-announce-port", proxy.port)
        credentials = f":{redis_cluster.password}@"
        url = f"rediss+cluster://{credentials}127.0.0.1:{proxy.port}?ssl_ca_certs={certificate}"
        async with open_redis(url) as client:
            await client.set("key", b"value")

        def without_asyncio() -> bytes | None:
            with make_celery(url, ["m"]).connection_for_write() as connection:
                connection.SimpleQueue("m").put({"a": 1})
            with open_blocking_redis(url) as client:
                assert client.llen("m") == 1
                return client.get("key")

        assert await asyncio.to_thread(without_asyncio) == b"value"
    assert redis_cluster.ask(port, "GET", f"{HASH_TAG}key") == b"value"


async def test_a_cluster_that_can_not_be_asked_is_unavailable(redis_cluster: RedisCluster) -> None:
    """Of its nodes, one does not answer, and one does not serve the slot."""
    port = await redis_cluster.start_one()
    redis_cluster.ask(port, "CLUSTER", "DELSLOTS", SLOT)
    async with open_redis(f"redis+cluster://:{redis_cluster.password}@127.0.0.1:1,127.0.0.1:{port}", retries=0) as client:
        with pytest.raises(RedisConnectionError, match=rf"slot {SLOT}: 127.0.0.1:1: .*; 127.0.0.1:{port}: .*not served"):
            await client.get("key")
        redis_cluster.ask(port, "CLUSTER", "ADDSLOTS", SLOT)
        await until(lambda: "cluster_state:ok" in str(redis_cluster.ask(port, "CLUSTER", "INFO")))
        assert await client.get("key") is None
