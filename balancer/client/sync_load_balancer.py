"""`LoadBalancer`: the load balancer for threaded programs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self, overload

from balancer.client.construction import FromSettings
from balancer.client.load_balancer import AsyncLoadBalancer, Messages
from balancer.endpoint import Endpoint
from balancer.results import ChatChunk, ChatResult
from balancer.routing import BalancingStrategy
from balancer.runtime.background import BackgroundLoop

__all__ = ["LoadBalancer"]


class LoadBalancer(FromSettings):
    """Spreads chat requests over endpoints. Use it from any number of threads, inside a running event loop too.

    It drives an AsyncLoadBalancer on one background loop and takes the same options: `enable_health_check`,
    `health_check_interval`, `timeout` (seconds for an attempt), `retry_count`, `fallback_on_failure`, `redis_url`, `transport`.
    Raises ConfigurationError (a ValueError) for endpoints that can't be used, BalancerClosed after `close`, and UsedAfterFork
    in a child process of the one that made it.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], strategy: BalancingStrategy | str = BalancingStrategy.WEIGHTED, **options: Any
    ) -> None:
        self._loop = BackgroundLoop("load balancer")
        try:
            self._balancer = self._loop.run(_made(endpoints, strategy, options))
        except BaseException:
            self._loop.close()
            raise

    def __enter__(self) -> Self:
        self._loop.check()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @overload
    def chat(self, messages: Messages, *, stream: Literal[False] = False, **fields: Any) -> ChatResult: ...

    @overload
    def chat(self, messages: Messages, *, stream: Literal[True], **fields: Any) -> Iterator[ChatChunk]: ...

    def chat(self, messages: Messages, *, stream: bool = False, **fields: Any) -> ChatResult | Iterator[ChatChunk]:
        """Send a conversation to an endpoint and return what came of it: see AsyncLoadBalancer.chat."""
        if stream:
            return self._loop.iterate(self._loop.run(self._balancer.chat(messages, stream=True, **fields)))
        result: ChatResult = self._loop.run(self._balancer.chat(messages, stream=False, **fields))
        return result

    def get_stats(self) -> dict[str, Any]:
        """Return what this balancer has done, and how its endpoints are."""
        return self._balancer.get_stats() if self._loop.is_closed else self._loop.run(self._stats())

    async def _stats(self) -> dict[str, Any]:
        # On the loop, where endpoints are added and removed.
        return self._balancer.get_stats()

    def usage(self) -> dict[str, Any]:
        """Return what this balancer has used, in all and by endpoint: see AsyncLoadBalancer.usage."""
        return self._balancer.usage()

    def add_endpoint(self, endpoint: Endpoint) -> None:
        """Use another endpoint from now on. Raises ConfigurationError if its name is taken."""
        self._loop.run(self._balancer.add_endpoint(endpoint))

    def remove_endpoint(self, url: str) -> bool:
        """Use the endpoint at `url` (or of that name) no more, and say whether there was one."""
        return self._loop.run(self._balancer.remove_endpoint(url))

    def drain(self, url: str, timeout: float = 60.0) -> bool:
        """Send an endpoint nothing more and wait until it has nothing in flight from here; False if that took too long."""
        return self._loop.run(self._balancer.drain(url, timeout))

    def undrain(self, url: str) -> None:
        """Use a drained endpoint again."""
        self._balancer.undrain(url)

    def close(self) -> None:
        """Close connections and give back what is held. A second time does nothing."""
        if not self._loop.is_closed:
            self._loop.run(self._balancer.close())
            self._loop.close()


async def _made(
    endpoints: Sequence[Endpoint], strategy: BalancingStrategy | str, options: Mapping[str, Any]
) -> AsyncLoadBalancer:
    # On the loop that it is used on, where it begins at once.
    return AsyncLoadBalancer(endpoints, strategy, **options)
