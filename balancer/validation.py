"""Checks endpoints that a program made itself, as the configuration's are checked."""

import math
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.providers import provider_names
from balancer.strategy import BalancingStrategy

__all__ = ["HTTP_ADDRESS", "check_numbers", "checked_endpoints", "checked_strategy", "require_endpoints"]

HTTP_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
"""An address that requests can be sent below: no query, no fragment."""
MOST_WEIGHT = 1_000_000


def checked_endpoints(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the endpoints if they can be used. Raises ConfigurationError (a ValueError) that says which one can't, and why."""
    require_endpoints(endpoints, "endpoints", "")
    names: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        for field, problem in _problems(endpoint):
            raise ConfigurationError(f"endpoints[{index}] ({endpoint.name})", field, problem)
        if endpoint.name in names:
            reason = f"{endpoint.name!r} is the name of endpoints[{names[endpoint.name]}] already; give each its own"
            raise ConfigurationError(f"endpoints[{index}]", "name", reason)
        names[endpoint.name] = index
    return tuple(endpoints)


def require_endpoints(endpoints: Sequence[Endpoint], source: str, path: str) -> None:
    """Raise ConfigurationError if there are none where they should stand."""
    if not endpoints:
        raise ConfigurationError(source, path, "there are none; name at least one, such as http://gpu1:8000/v1")


def _problems(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Return (field, what is wrong with it) for everything that can't be used."""
    found = []
    if not _is_address(endpoint.url):
        shown = re.sub(r"//[^/]*@", "//…@", str(endpoint.url))
        found.append(("url", f"must be an http:// or https:// address such as http://gpu1:8000/v1 (got {shown!r})"))
    if endpoint.provider not in provider_names():
        found.append(("provider", f"must be one of {', '.join(provider_names())} (got {endpoint.provider!r})"))
    if not _is_number(endpoint.weight) or not 0 < endpoint.weight <= MOST_WEIGHT:
        found.append(("weight", f"must be greater than 0, at most {MOST_WEIGHT:,} (got {endpoint.weight!r})"))
    for field in ("max_concurrency", "max_tokens", "rpm", "tpm"):
        value = getattr(endpoint, field)
        if value is None and field != "max_concurrency":
            continue
        if not (isinstance(value, int) and _is_number(value) and value > 0):
            found.append((field, f"must be a whole number greater than 0 (got {value!r})"))
    if endpoint.temperature is not None and not (_is_number(endpoint.temperature) and 0 <= endpoint.temperature <= 2):
        found.append(("temperature", f"must be between 0 and 2 (got {endpoint.temperature!r})"))
    if endpoint.api_key is not None and not re.fullmatch(r"[\x21-\x7e]*", endpoint.api_key):
        found.append(("api_key", "must be letters, digits and signs of ASCII, without spaces or line breaks"))
    return found


def _is_address(url: object) -> bool:
    if not isinstance(url, str) or not HTTP_ADDRESS.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def checked_strategy(strategy: BalancingStrategy | str) -> BalancingStrategy:
    """Return the strategy of that name. Raises ConfigurationError."""
    try:
        return BalancingStrategy(strategy)
    except ValueError:
        reason = f"must be one of {', '.join(BalancingStrategy)} (got {strategy!r})"
        raise ConfigurationError("strategy", "", reason) from None


def check_numbers(timeout: float, retry_count: int, health_check_interval: float) -> None:
    """Raise ConfigurationError for a number of seconds or attempts that nothing can be done with."""
    for name, value in (("timeout", timeout), ("health_check_interval", health_check_interval)):
        if not _is_number(value) or value <= 0:
            raise ConfigurationError(name, "", f"must be a number of seconds greater than 0 (got {value!r})")
    if not isinstance(retry_count, int) or not _is_number(retry_count) or retry_count < 0:
        raise ConfigurationError("retry_count", "", f"must be a whole number, 0 or more (got {retry_count!r})")
