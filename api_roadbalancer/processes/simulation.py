"""Simulated endpoints: `mock://` addresses in the configuration, and the one that answers when nothing is configured.

`mock://?latency=0.2&jitter=0.1&error_rate=0.01&rate_limit=600` is a server of this project's own that takes that long, and so on.
"""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from api_roadbalancer.processes.ports import free_port
from api_roadbalancer.processes.supervisor import Child
from balancer.configuration import SIMULATED_SCHEME, Configuration
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError

__all__ = ["is_simulated", "with_simulated_endpoints"]

DEFAULT = Endpoint(url=f"{SIMULATED_SCHEME}simulated?latency=0.1&jitter=0.1", name="simulated")
_OPTIONS = ("latency", "jitter", "error_rate", "rate_limit")


def is_simulated(endpoint: Endpoint) -> bool:
    """Whether an endpoint is a simulation that has to be started."""
    return endpoint.url.startswith(SIMULATED_SCHEME)


def with_simulated_endpoints(configuration: Configuration, start: Callable[[Child], None]) -> Configuration:
    """Start a server for each simulated endpoint, and one if there is no endpoint at all; return the real addresses.

    Raises ConfigurationError for an option that a simulation doesn't have.
    """
    endpoints = (DEFAULT,) if configuration.is_simulated else configuration.endpoints
    return replace(configuration, endpoints=tuple(_started(e, start) if is_simulated(e) else e for e in endpoints))


def _started(endpoint: Endpoint, start: Callable[[Child], None]) -> Endpoint:
    port = free_port()
    arguments = ["mock", "--port", str(port)]
    for name, value in parse_qsl(urlsplit(endpoint.url).query):
        if name not in _OPTIONS:
            reason = f"{name!r} is no option of a simulated endpoint; there are {', '.join(_OPTIONS)}"
            raise ConfigurationError("configuration", f"the url of endpoint {endpoint.name}", reason)
        arguments += [f"--{name.replace('_', '-')}", value]
    start(Child(f"simulated endpoint {endpoint.name}", arguments, stops_last=True))
    return replace(endpoint, url=f"http://127.0.0.1:{port}/v1")
