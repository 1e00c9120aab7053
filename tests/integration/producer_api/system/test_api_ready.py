"""`/health/ready`: whether requests may come to this server now."""

import asyncio
from pathlib import Path

import httpx
import pytest
from live_server import LiveServer, StartServer, error_of

from api_roadbalancer.processes.embedded import EmbeddedRedis
from balancer.outcome import Failure, FailureKind, Outcome
from jobs.node import Node
from tests.waiting import until_blocking


def ready(server: LiveServer) -> httpx.Response:
    return httpx.get(f"{server.url}/health/ready", timeout=10)


def refusal(server: LiveServer) -> str:
    """Return the reasons, from an answer that is a refusal through and through."""
    response = ready(server)
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (503, "service_unavailable_error", "not_ready")
    assert response.headers["retry-after"]
    return str(error["message"])


def test_a_server_with_redis_and_endpoints_is_ready_and_says_so_to_everybody(start: StartServer) -> None:
    response = ready(start(api_keys=("sk-of-a-test",)))
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


async def test_one_healthy_endpoint_is_enough_and_none_is_too_few(server: LiveServer, node: Node) -> None:
    for name in ("one", "two"):
        await node.fleet.health.check_failed(Outcome(name, 0.1, failure=Failure(FailureKind.CONNECTION, "refused")))
    await asyncio.to_thread(until_blocking, lambda: ready(server).status_code == 503)
    assert await asyncio.to_thread(refusal, server) == "none of 2 endpoints is healthy"
    await node.fleet.health.check_passed("two")
    await asyncio.to_thread(until_blocking, lambda: ready(server).status_code == 200)


def test_without_endpoints_it_is_not_ready(start: StartServer) -> None:
    assert refusal(start(endpoints=())) == "no endpoint is configured"


def test_without_redis_it_is_not_ready_but_alive(start: StartServer, tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    server = start(url=redis.start())
    assert ready(server).status_code == 200
    redis.stop()
    assert refusal(server) == "Redis does not answer"
    assert httpx.get(f"{server.url}/health").status_code == 200
    server.stop()


@pytest.mark.parametrize("path", ["/health/ready/", "/health/readyz"])
def test_only_the_very_path_is_open(start: StartServer, path: str) -> None:
    assert httpx.get(start(api_keys=("sk-of-a-test",)).url + path).status_code == 401
