"""Load balancers for a provider by name, with the API key from the environment."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from balancer.client.sync_load_balancer import LoadBalancer
from balancer.configuration import environment
from balancer.configuration.provider_keys import KeyedProvider, available, endpoint_settings, keyed_provider
from balancer.configuration.schema import EndpointEntry, checked_endpoint
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError

__all__ = ["create_client", "endpoint_of_provider", "get_available_clients", "get_client", "get_client_with_fallback"]

FEWEST_RETRIES = 2
_ENDPOINT_KEYS = frozenset(EndpointEntry.model_fields) | {"model"}
_cache: dict[str, LoadBalancer] = {}
_cache_lock = threading.Lock()


def create_client(name: str, /, **settings: Any) -> LoadBalancer:
    """Make a balancer over one endpoint of a provider: `openai`, `claude` (or `anthropic`), `gemini`, `laas`, or any other
    that an endpoint's `provider` may be, one of your own included.

    The key comes from the environment (see docs/configuration.md) unless `api_key` is given. `settings` are the keys of an
    endpoint (`url`, `models`, `options`, `rpm`, ...), `model` (for calls that name none), and LoadBalancer's own options.
    Close it after use. Raises ConfigurationError, which names the variable if a key is missing.
    """
    endpoint, options = endpoint_of_provider(name, settings)
    return LoadBalancer([endpoint], **options)


def endpoint_of_provider(name: str, settings: Mapping[str, Any]) -> tuple[Endpoint, dict[str, Any]]:
    """Return the endpoint of a provider, and those of the settings that are a load balancer's. Raises ConfigurationError."""
    given = {key: value for key, value in settings.items() if key in _ENDPOINT_KEYS}
    options = {key: value for key, value in settings.items() if key not in _ENDPOINT_KEYS}
    return _endpoint(keyed_provider(name), environment(), given), options


def get_client(name: str) -> LoadBalancer:
    """Return the process's balancer for a provider, made at the first call, and anew if it has been closed or the process has
    forked. Raises ConfigurationError."""
    known = keyed_provider(name)
    with _cache_lock:
        client = _cache.get(known.name)
        if client is None or client._loop.is_closed:
            client = _cache[known.name] = create_client(known.name)
        return client


def get_available_clients() -> list[str]:
    """Return the names of the providers that the environment has keys for, the preferred ones first."""
    return [known.name for known in available(environment())]


def get_client_with_fallback(preferred_order: Sequence[str] = ("gemini", "openai", "claude"), **options: Any) -> LoadBalancer:
    """Make a balancer over the providers of `preferred_order` that the environment has keys for.

    Each is the fallback of those before it: it is asked when they fail. A call that names no model gets each provider's default;
    one that names a model goes to the provider that has it. `options` are LoadBalancer's. Close it after use.
    Raises ConfigurationError if there is no key for any of them.
    """
    env = environment()
    wanted = dict.fromkeys(keyed_provider(name).name for name in preferred_order)
    found = [keyed_provider(name) for name in wanted if not keyed_provider(name).missing_in(env)]
    if not found:
        variables = ", ".join(variable for name in wanted for variable in keyed_provider(name).missing_in(env))
        raise ConfigurationError("environment", variables, "none of these is set; set at least one provider's")
    endpoints = [_endpoint(known, env, {"priority": tier}) for tier, known in enumerate(found)]
    return LoadBalancer(endpoints, **({"retry_count": max(FEWEST_RETRIES, len(endpoints) - 1)} | options))


def _endpoint(known: KeyedProvider, env: Mapping[str, str], given: Mapping[str, Any]) -> Endpoint:
    return checked_endpoint(endpoint_settings(known, env, given), f"client {known.name!r}")
