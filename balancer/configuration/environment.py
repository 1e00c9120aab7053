"""Reads settings from the environment: `LLM_*`, provider keys, and a `.env` file."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from dotenv import dotenv_values

from balancer.configuration.provider_keys import PREFERRED, available, endpoint_settings
from balancer.errors import ConfigurationError

__all__ = ["CHAT_VARIABLES", "VARIABLES", "chat_from_environment", "environment", "settings_from_environment"]

VARIABLES = {
    "strategy": "LLM_STRATEGY",
    "timeout": "LLM_TIMEOUT",
    "health_check": "LLM_HEALTH_CHECK",
    "redis_url": "ROADBALANCER_REDIS_URL",
    "store": "ROADBALANCER_STORE",
}
CHAT_VARIABLES = {
    "model": "DEFAULT_MODEL",
    "system_message": "DEFAULT_SYSTEM_MESSAGE",
    "temperature": "DEFAULT_TEMPERATURE",
    "max_tokens": "DEFAULT_MAX_TOKENS",
}
"""Keys of `chat` that variables may give."""
"""Settings that variables may give: where they do, an error names the variable."""


class Variables(Mapping[str, str]):
    """Variables by name. One that is not set has what stands in the file that `NAME_FILE` names, as containers have their
    secrets; looking it up raises ConfigurationError if that can't be read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        if name in self._values:
            return self._values[name]
        variable = f"{name}{_IN_FILE}"
        if not self._values.get(variable):
            raise KeyError(name)
        return _content(variable, self._values[variable])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


_IN_FILE = "_FILE"
_LARGEST_SECRET = 65_536
"""Bytes of a file that a variable names."""


def _content(variable: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_SECRET + 1)
        if len(content) > _LARGEST_SECRET:
            raise ConfigurationError("environment", variable, f"{path} has more than {_LARGEST_SECRET:,} bytes")
        return content.decode().strip()
    except OSError as exc:
        raise ConfigurationError("environment", variable, f"{path} can't be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError("environment", variable, f"{path} is no text in UTF-8") from exc


def environment() -> Mapping[str, str]:
    """Return the process's environment over the variables of a `.env` file in the working directory."""
    return Variables({k: v for k, v in dotenv_values(".env").items() if v is not None} | dict(os.environ))


def chat_from_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of `chat` that variables give."""
    return {key: env[variable] for key, variable in CHAT_VARIABLES.items() if env.get(variable, "").strip()}


def settings_from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Make settings from `LLM_*`; without `LLM_ENDPOINTS`, endpoints from the provider keys found."""
    settings: dict[str, Any] = {}
    endpoints = _endpoints_from_lists(env) if env.get("LLM_ENDPOINTS") else _endpoints_from_keys(env)
    if endpoints:
        settings["endpoints"] = endpoints
    for key in ("strategy", "timeout"):
        if env.get(VARIABLES[key]):
            settings[key] = env[VARIABLES[key]]
    if env.get(VARIABLES["health_check"]):
        settings["health_check"] = {"enabled": env[VARIABLES["health_check"]]}
    return settings


def _endpoints_from_lists(env: Mapping[str, str]) -> list[dict[str, Any]]:
    urls = [part.strip() for part in env["LLM_ENDPOINTS"].split(",") if part.strip()]
    endpoints: list[dict[str, Any]] = [{"url": url} for url in urls]
    for key, variable in (("api_key", "LLM_API_KEYS"), ("weight", "LLM_WEIGHTS")):
        values = [part.strip() for part in env.get(variable, "").split(",")] if env.get(variable) else []
        if values and len(values) != len(urls):
            reason = f"names {len(values)} values for {len(urls)} endpoints in LLM_ENDPOINTS; give one for each"
            raise ConfigurationError("environment", variable, reason)
        for endpoint, value in zip(endpoints, values, strict=False):
            if value:
                endpoint[key] = value
    return endpoints


def _endpoints_from_keys(env: Mapping[str, str]) -> list[dict[str, Any]]:
    """One for each provider whose key is there; each is the fallback of the one before it."""
    for known in PREFERRED.values():
        if known.is_half_set_in(env):
            endpoint_settings(known, env)  # says what is missing
    return [{**endpoint_settings(known, env), "priority": tier} for tier, known in enumerate(available(env))]
