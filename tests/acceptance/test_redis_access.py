"""A Redis behind TLS whose users have passwords and rights of their own."""

import asyncio
import re
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import redis as sync_redis

from tests.acceptance.cluster import HTTP, Cluster, check_each_once, ended, submit
from tests.acceptance.lossy_proxy import LossyProxy
from tests.certificates import write_certificate

ROOT = Path(__file__).parents[2]
RIGHTS = re.search('RIGHTS = "(.*)"', (ROOT / "deploy/compose/redis_access.py").read_text())


async def test_tls_and_a_user_without_admin_rights(cluster: Cluster, tmp_path: Path) -> None:
    assert RIGHTS and RIGHTS[1] in (ROOT / "docs/operations.md").read_text()
    admin = cluster.settings["redis_url"]
    with sync_redis.Redis.from_url(admin) as client:
        client.execute_command("ACL", "SETUSER", "roadbalancer", "on", ">p@ss/word", *RIGHTS[1].split())
        client.execute_command("ACL", "LOG", "RESET")
    certificate = write_certificate(tmp_path / "redis.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    await cluster.start_model("m", latency=0.02)
    async with LossyProxy(urlsplit(admin).port or 0, tls) as proxy:
        url = f"rediss://roadbalancer:p%40ss%2Fword@127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}"
        cluster.write_config(redis_url=url)
        worker = await cluster.start_worker()
        _, api = await cluster.start_api()
        async with cluster.node() as node:
            names = [f"line-{number:05d}" for number in range(40)]
            job = await ended(node, await submit(node, names))
            await check_each_once(node, job, names)
        ready = await asyncio.to_thread(HTTP.get, f"{api}/health/ready")  # the proxy runs on this loop
        assert ready.status_code == 200, ready.text
        log = worker.log.read_text()
        assert "p@ss" not in log and "p%40ss" not in log
        assert "presence" not in log and "does not show" not in log
    with sync_redis.Redis.from_url(admin) as client:
        assert client.execute_command("ACL", "LOG") == []
