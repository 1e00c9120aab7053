"""Validates endpoints and options given by programs, with the same rules as the configuration file."""

import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from balancer.endpoint import Endpoint, is_pattern
from balancer.errors import ConfigurationError
from balancer.providers import facts_of, problem_with
from balancer.routing import BalancingStrategy

__all__ = [
    "HTTP_ADDRESS",
    "check_numbers",
    "checked_endpoints",
    "checked_strategy",
    "model_problems",
    "option_problems",
    "provider_problems",
    "require_endpoints",
]

Problems = list[tuple[str, str]]
"""What can't be used in an endpoint's settings: the field, as a path, and the reason."""

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


def provider_problems(provider: str, options: Mapping[str, str]) -> Problems:
    """Say what is wrong with an endpoint's provider, or with the options for it."""
    unknown = problem_with(provider)
    return [("provider", unknown)] if unknown else option_problems(provider, options)


def option_problems(provider: str, options: Mapping[str, str]) -> Problems:
    """Say which options a known provider doesn't have, which aren't text, and which it needs."""
    facts = facts_of(provider)
    found: Problems = []
    for name, value in options.items():
        if name not in facts.options:
            allowed = ", ".join(facts.options) or "none"
            found.append((f"options.{name}", f"unknown option; {provider} has {allowed}"))
        elif not isinstance(value, str):
            found.append((f"options.{name}", f"must be text (got {type(value).__name__})"))
    for name in facts.required_options:
        if not options.get(name):
            found.append((f"options.{name}", f"{provider} needs this: {facts.options.get(name, name)}"))
    return found


def model_problems(models: Mapping[str, str]) -> Problems:
    """Say which patterns stand for another name than the one that was asked for."""
    reason = "a name that ends in * stands for itself: every name that begins so is sent as it is"
    return [(f"models.{name}", reason) for name, upstream in models.items() if is_pattern(name) and upstream != name]


def _problems(endpoint: Endpoint) -> Problems:
    """Say what can't be used."""
    found: Problems = []
    if not _is_address(endpoint.url):
        shown = re.sub(r"//[^/]*@", "//…@", str(endpoint.url))
        found.append(("url", f"must be an http:// or https:// address such as http://gpu1:8000/v1 (got {shown!r})"))
    found += provider_problems(endpoint.provider, endpoint.options)
    found += model_problems(endpoint.models)
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
