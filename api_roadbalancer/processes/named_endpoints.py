"""Endpoints that are named on the command line: `--endpoint`, `--model`, `--api-key-env`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from balancer.configuration.environment import environment
from balancer.errors import ConfigurationError

__all__ = ["NamedEndpoints"]


@dataclass(frozen=True, slots=True)
class NamedEndpoints:
    """Addresses, the model for requests that name none, and the environment variable that holds the key."""

    urls: Sequence[str]
    model: str | None = None
    api_key_env: str | None = None

    @classmethod
    def of(cls, urls: Sequence[str], model: str | None, api_key_env: str | None) -> "NamedEndpoints | None":
        """Return them, None without any address. Raises ConfigurationError for a model or a key without an address."""
        if urls:
            return cls(tuple(urls), model, api_key_env)
        for option, value in (("--model", model), ("--api-key-env", api_key_env)):
            if value is not None:
                raise ConfigurationError(option, value, "belongs to --endpoint URL; a configuration file has its own")
        return None

    def settings(self) -> list[dict[str, Any]]:
        """Return the settings of each endpoint. Raises ConfigurationError if the variable of the key is not set."""
        settings: dict[str, Any] = {}
        if self.model is not None:
            # Requests that name a model of their own are sent as they are.
            settings["models"] = {self.model: self.model, "*": "*"}
        if self.api_key_env is not None:
            key = environment().get(self.api_key_env, "").strip()
            if not key:
                raise ConfigurationError("--api-key-env", self.api_key_env, "this environment variable is not set")
            settings["api_key"] = key
        return [{"url": url, **settings} for url in self.urls]

    def words(self) -> list[str]:
        """Return the options that name them again."""
        words = [word for url in self.urls for word in ("--endpoint", url)]
        words += ["--model", self.model] if self.model is not None else []
        return words + (["--api-key-env", self.api_key_env] if self.api_key_env is not None else [])
