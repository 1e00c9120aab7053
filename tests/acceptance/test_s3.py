"""Files in a bucket: the same job over a real S3 API."""

import os
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.acceptance.cluster import Cluster, check_each_once, ended, submit
from tests.acceptance.test_nothing_is_lost import ids


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="jobs")
    yield "s3://jobs/prefix"
    server.stop()


async def test_a_job_over_a_bucket(cluster: Cluster, bucket: str) -> None:
    await cluster.start_model("m", {"max_concurrency": 16}, latency=0.02)
    cluster.write_config(store=bucket)
    await cluster.start_worker()
    async with cluster.node() as node:
        names = ids(300)
        job = await ended(node, await submit(node, names))
        await check_each_once(node, job, names)
        assert len(await node.objects.folder("files")) == 4, "input, its two indexes and the output, and no parts any more"
