"""Checks endpoints that a program made itself, as the configuration's are checked."""

import re
from collections.abc import Sequence

from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.providers import PROVIDERS

__all__ = ["HTTP_ADDRESS", "checked_endpoints"]

HTTP_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
"""An address that requests can be sent below: no query, no fragment."""


def checked_endpoints(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the endpoints if they can be used. Raises ConfigurationError (a ValueError) that says which one can't, and why."""
    if not endpoints:
        raise ConfigurationError(
            "endpoints", "", "there are none; name at least one, such as Endpoint(url='http://gpu1:8000/v1')"
        )
    names: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        for field, problem in _problems(endpoint):
            raise ConfigurationError(f"endpoints[{index}] ({endpoint.name})", field, problem)
        if endpoint.name in names:
            reason = f"{endpoint.name!r} is the name of endpoints[{names[endpoint.name]}] already; give each its own"
            raise ConfigurationError(f"endpoints[{index}]", "name", reason)
        names[endpoint.name] = index
    return tuple(endpoints)


def _problems(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Return (field, what is wrong with it) for everything that can't be used."""
    found = []
    if not isinstance(endpoint.url, str) or not HTTP_ADDRESS.fullmatch(endpoint.url):
        found.append(("url", f"must be an http:// or https:// address such as http://gpu1:8000/v1 (got {endpoint.url!r})"))
    if endpoint.provider not in PROVIDERS:
        found.append(("provider", f"must be one of {', '.join(PROVIDERS)} (got {endpoint.provider!r})"))
    for field in ("weight", "max_concurrency", "max_tokens", "rpm", "tpm"):
        value = getattr(endpoint, field)
        if value is not None and not (isinstance(value, int | float) and value > 0):
            found.append((field, f"must be greater than 0 (got {value!r})"))
    return found
