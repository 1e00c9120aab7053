"""Validates endpoints and options given by programs, by the rules of the configuration file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError

from balancer.configuration.fields import EndpointFields, HttpAddress, ProviderName
from balancer.configuration.refusals import refusal
from balancer.endpoint import Endpoint, is_pattern
from balancer.errors import ConfigurationError
from balancer.providers import adapter_for, facts_of
from balancer.routing import BalancingStrategy
from balancer.usage.price_class import PriceClass

__all__ = [
    "batch_problem",
    "check_numbers",
    "checked_endpoints",
    "checked_strategy",
    "model_problems",
    "option_problems",
    "require_endpoints",
]

Problems = list[tuple[str, str]]
"""What can't be used in an endpoint's settings: the field, as a path, and the reason."""


def checked_endpoints(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Return the endpoints if they can be used. Raises ConfigurationError (a ValueError) that says which one can't, and why."""
    require_endpoints(endpoints, "endpoints", "")
    names: dict[str, int] = {}
    checked = [_checked(endpoint, f"endpoints[{index}] ({endpoint.name})") for index, endpoint in enumerate(endpoints)]
    for index, endpoint in enumerate(checked):
        if endpoint.name in names:
            reason = f"{endpoint.name!r} is the name of endpoints[{names[endpoint.name]}] already; give each its own"
            raise ConfigurationError(f"endpoints[{index}]", "name", reason)
        names[endpoint.name] = index
    return tuple(checked)


def require_endpoints(endpoints: Sequence[Endpoint], source: str, path: str) -> None:
    """Raise ConfigurationError if there are none where they should stand."""
    if not endpoints:
        raise ConfigurationError(source, path, "there are none; name at least one, such as http://gpu1:8000/v1")


def batch_problem(endpoint: Endpoint) -> tuple[str, str] | None:
    """Say what is wrong with how an endpoint is to use batches: the field and the reason."""
    if endpoint.batch and adapter_for(endpoint.provider).batches(endpoint) is None:
        return "batch", f"{endpoint.provider} has no batch API that is known here"
    if not endpoint.batch and endpoint.price_class == PriceClass.BATCH:
        return "price_class", "`batch` is for endpoints that have `batch: true`"
    if not endpoint.batch and endpoint.queued_tokens is not None:
        return "queued_tokens", "is for endpoints that have `batch: true`"
    return None


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


def _checked(endpoint: Endpoint, where: str) -> Endpoint:
    given = {name: getattr(endpoint, name) for name in _OfAProgram.model_fields}
    try:
        fields = _OfAProgram.model_validate(given, strict=True)
    except ValidationError as exc:
        raise refusal(exc, where) from None
    for path, reason in (*option_problems(endpoint.provider, endpoint.options), *model_problems(endpoint.models)):
        raise ConfigurationError(where, path, reason)
    if problem := batch_problem(endpoint):
        raise ConfigurationError(where, *problem)
    return replace(endpoint, api_key=fields.api_key, max_concurrency=fields.max_concurrency)


class _OfAProgram(EndpointFields):
    url: HttpAddress
    provider: ProviderName


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
