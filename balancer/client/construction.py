"""Constructors that both load balancers share: from the environment, from a file, from a Configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from balancer.configuration import Configuration, load_configuration
from balancer.configuration.validation import require_endpoints

__all__ = ["FromSettings", "constructor_options"]


class FromSettings:
    """Adds the constructors to a class that takes endpoints and AsyncLoadBalancer's options."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **options: Any) -> Self:
        """Make a balancer from `LLM_ENDPOINTS` and the other variables (see docs/configuration.md). `options` beat them."""
        configuration = load_configuration(None, environ)
        require_endpoints(configuration.endpoints, "environment", "LLM_ENDPOINTS")
        return cls.from_configuration(configuration, **options)

    @classmethod
    def from_config(cls, path: str | Path, **options: Any) -> Self:
        """Make a balancer from the project's configuration file. `options` beat what stands there."""
        configuration = load_configuration(path)
        require_endpoints(configuration.endpoints, str(path), "endpoints")
        return cls.from_configuration(configuration, **options)

    @classmethod
    def from_configuration(cls, configuration: Configuration, **options: Any) -> Self:
        """Make a balancer from settings that have been read. `options` beat them."""
        return cls(**(constructor_options(configuration) | options))


def constructor_options(configuration: Configuration) -> dict[str, Any]:
    """Return the arguments of a balancer that settings stand for."""
    return {
        "endpoints": configuration.endpoints,
        "strategy": configuration.strategy,
        "enable_health_check": configuration.health_check.enabled,
        "health_check_interval": configuration.health_check.interval,
        "timeout": configuration.timeout,
        "retry_count": configuration.retry_count,
        "fallback_on_failure": configuration.fallback_on_failure,
        "redis_url": configuration.redis_url,
        "routes": configuration.routes,
        "cache": configuration.cache,
    }
