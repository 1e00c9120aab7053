"""Decides whether a server may listen beyond this machine without API keys."""

from dataclasses import dataclass
from ipaddress import ip_address

from balancer.configuration import Configuration
from balancer.errors import ConfigurationError
from balancer.state.redis_connection import check_redis, open_redis
from jobs.access.store import KeyStore

__all__ = ["Door", "is_loopback", "refuse_exposure"]


@dataclass(frozen=True, slots=True)
class Door:
    """Which clients are allowed while there is no API key: none with `require_keys`; all with `insecure`; else, on a server that
    only this machine reaches (`local`), all but pages of other sites in a browser."""

    require_keys: bool = False
    insecure: bool = False
    local: bool = True

    @property
    def is_open(self) -> bool:
        """Whether requests without a key may be let in."""
        return not self.require_keys and (self.insecure or self.local)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`. Other names than `localhost` are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def refuse_exposure(configuration: Configuration, redis_url: str, host: str, insecure: bool) -> None:
    """Make sure that a key is asked for beyond this machine, unless `insecure`.

    Raises ConfigurationError, and SharedStateUnavailable if Redis has to be asked for keys and does not answer.
    """
    if insecure or is_loopback(host) or configuration.api_keys or configuration.require_keys or await _any_key(redis_url):
        return
    reason = (
        "would let anybody in: make a key (roadbalancer keys create NAME), set ROADBALANCER_API_KEYS, "
        "or pass --insecure if the network is yours alone"
    )
    raise ConfigurationError("--host", host, reason)


async def _any_key(redis_url: str) -> bool:
    redis = open_redis(redis_url)
    try:
        await check_redis(redis, redis_url)
        return await KeyStore(redis).exist()
    finally:
        await redis.aclose()
