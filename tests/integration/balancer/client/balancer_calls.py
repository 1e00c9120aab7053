"""Chats through a load balancer, and what its servers were asked."""

from collections.abc import Callable

from api_roadbalancer.mock import MockServer
from api_roadbalancer.processes.ports import free_port
from balancer import Endpoint, LoadBalancer

__all__ = ["HELLO", "PATIENCE", "Make", "chats", "dead", "requests"]


HELLO = [{"role": "user", "content": "Hello!"}]
PATIENCE = 10.0
Make = Callable[..., LoadBalancer]


def chats(lb: LoadBalancer, count: int) -> list[str]:
    return [str(lb.chat(HELLO, model="m")["endpoint"]) for _ in range(count)]


def requests(server: MockServer) -> int:
    return server.simulation.tally.requests


def dead(name: str = "dead") -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{free_port()}/v1", name=name)
