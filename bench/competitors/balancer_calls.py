"""Chats through LoadBalancer, and the bare HTTP call that they are compared with."""

import sys
from collections.abc import Callable

import orjson
from pyreqwest.client import SyncClientBuilder

from api_roadbalancer import Endpoint, LoadBalancer
from bench.competitors.threads import measure

__all__: list[str] = []

MESSAGES = [{"role": "user", "content": "Hello!"}]


def bare(url: str) -> Callable[[], object]:
    """Return the same request with pyreqwest, the fastest client of those that are compared, by itself."""
    client = SyncClientBuilder().build()
    body = {"model": "simulated", "messages": MESSAGES}

    def chat() -> object:
        request = client.post(f"{url}/chat/completions").headers({"content-type": "application/json"})
        return orjson.loads(bytes(request.body_bytes(orjson.dumps(body)).build().send().bytes()))

    return chat


def balanced(url: str, redis_url: str | None) -> Callable[[], object]:
    """Return a chat over two endpoints at one server."""
    endpoints = [Endpoint(url=url, name=name, max_concurrency=64) for name in ("a", "b")]
    balancer = LoadBalancer(endpoints, redis_url=redis_url, enable_health_check=False)

    def chat() -> object:
        result = balancer.chat(MESSAGES, model="simulated")
        assert result.success, result.error
        return result

    return chat


if __name__ == "__main__":
    what, address, redis_address, *counts = sys.argv[1:]
    measure(bare(address) if what == "bare" else balanced(address, redis_address or None), *map(int, counts))
