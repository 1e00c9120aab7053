"""Loads the configuration: the file, the environment over it, validated as a whole."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from balancer.configuration.environment import (
    CHAT_VARIABLES,
    VARIABLES,
    chat_from_environment,
    environment,
    settings_from_environment,
)
from balancer.configuration.refusals import refusal
from balancer.configuration.routes import routes_as_settings, routes_of
from balancer.configuration.schema import ConfigurationFile, EndpointEntry
from balancer.configuration.values import Configuration, Discovery, MediaUrls
from balancer.configuration.yaml_file import read_yaml
from balancer.endpoint import AutoConcurrency, Endpoint, covers
from balancer.errors import ConfigurationError
from balancer.routing import BalancingStrategy
from balancer.routing.model_routes import AUTO, ModelRoutes

__all__ = ["dump_configuration", "endpoint_settings", "load_configuration"]

SHORTEST_API_KEY = 16
"""Characters of a key in ROADBALANCER_API_KEYS."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Read:
    """What a file says: settings with the keys of `ConfigurationFile`; endpoints that are checked already; what is left out."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    notes: tuple[str, ...] = ()


def load_configuration(
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    endpoints: Sequence[Mapping[str, Any]] = (),
    endpoints_from: str = "",
) -> Configuration:
    """Read the configuration from `path`, else from the file that `ROADBALANCER_CONFIG` names, and the environment.

    Variables take precedence over the file for `redis_url`, `store` and `chat`; `LLM_*` and provider keys count only where the
    file names no endpoints. With `endpoints` (the settings of each), which come from `endpoints_from`, all others count for
    nothing. `environ` replaces the process's environment and `.env`. Settings of a LiteLLM file that can't be used are logged,
    and are in the configuration's `notes`. Raises ConfigurationError.
    """
    env = environment() if environ is None else environ
    source = path or env.get("ROADBALANCER_CONFIG") or None
    read = _read(Path(source), env) if source else _Read()
    for note in read.notes:
        log.warning("%s: %s", source, note)
    if endpoints:
        read = replace(read, endpoints=())
        given: dict[str, Any] = {**settings_from_environment(env), "endpoints": list(endpoints)}
    else:
        has_endpoints = read.endpoints or read.settings.get("endpoints")
        given = {} if has_endpoints else settings_from_environment(env)
    for key in ("redis_url", "store"):
        if env.get(VARIABLES[key]):
            given[key] = env[VARIABLES[key]]
    variables = {key: VARIABLES.get(key, "") for key in given}
    if chat := chat_from_environment(env):
        in_file = read.settings.get("chat", {})
        given["chat"] = {**in_file, **chat} if isinstance(in_file, dict) else in_file
        variables |= {f"chat.{key}": CHAT_VARIABLES[key] for key in chat}
    named = endpoints_from if endpoints else "environment"
    built = _build(read, given, variables, str(source or "environment"), named, _api_keys(env))
    return replace(built, source=str(source or ""))


def _api_keys(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys in ROADBALANCER_API_KEYS.

    Raises ConfigurationError if it is set but holds none, or one that can be guessed.
    """
    variable = "ROADBALANCER_API_KEYS"
    if variable not in env:
        return ()
    keys = tuple(part.strip() for part in env[variable].split(",") if part.strip())
    if not keys:
        raise ConfigurationError("environment", variable, "is set but holds no key; give keys by comma, or unset it")
    if any(len(key) < SHORTEST_API_KEY for key in keys):
        reason = (
            f"a key has fewer than {SHORTEST_API_KEY} characters and could be guessed; `openssl rand -hex 24` makes a good one"
        )
        raise ConfigurationError("environment", variable, reason)
    return keys


def _read(path: Path, env: Mapping[str, str]) -> _Read:
    content = read_yaml(path, env)
    if "model_list" not in content:
        return _Read(content)
    if "endpoints" in content:
        reason = "a file has either `endpoints` or LiteLLM's `model_list`; put both into one of the two"
        raise ConfigurationError(str(path), "model_list", reason)
    from balancer.configuration.litellm import read_litellm  # its schema takes 0.1 s, which most files don't need

    litellm = read_litellm(content, env, str(path), ConfigurationFile.model_fields)
    return _Read(litellm.settings, litellm.endpoints, litellm.notes)


def _build(
    read: _Read,
    given: dict[str, Any],
    variables: Mapping[str, str],
    source: str,
    endpoints_from: str,
    api_keys: tuple[str, ...],
) -> Configuration:
    try:
        checked = ConfigurationFile.model_validate({**read.settings, **given})
    except ValidationError as exc:
        if endpoints_from != "environment" and exc.errors()[0]["loc"][0] == "endpoints":
            raise refusal(exc, endpoints_from, schema=ConfigurationFile) from None
        raise refusal(exc, source, variables, ConfigurationFile) from None
    endpoints = read.endpoints or _endpoints(checked.endpoints, endpoints_from if "endpoints" in given else source)
    return Configuration(
        endpoints=endpoints,
        strategy=BalancingStrategy(checked.strategy),
        timeout=checked.timeout,
        retry_count=checked.retry_count,
        fallback_on_failure=checked.fallback_on_failure,
        max_answer_bytes=checked.max_answer_bytes,
        require_keys=checked.require_keys,
        health_check=checked.health_check.value(),
        most_hedges=checked.hedge.max,
        prefix_affinity=checked.prefix_affinity,
        redis_url=checked.redis_url,
        store=checked.store,
        api_keys=api_keys,
        chat=checked.chat.value(),
        cache=checked.cache.value() if checked.cache else None,
        private_webhooks=checked.webhooks.private_addresses,
        media_urls=MediaUrls(checked.media_urls),
        connections_per_address=checked.connections_per_address,
        log=checked.log.value(),
        audit_file=checked.audit.file if checked.audit else None,
        discover=tuple(entry.value() for entry in checked.discover),
        routes=_routes(checked, endpoints, source),
        notes=read.notes,
    )


def _routes(checked: ConfigurationFile, endpoints: Sequence[Endpoint], source: str) -> ModelRoutes:
    """Return the routes; each model of a chain must be served, where the endpoints say what they serve."""
    routes = routes_of(checked.routes, checked.auto)
    if endpoints and all(endpoint.models for endpoint in endpoints):
        for name in routes.names:
            for model in routes.all_behind(name):
                if not any(covers(endpoint.models, model) for endpoint in endpoints):
                    path = "auto" if name == AUTO else f"routes.{name}"
                    raise ConfigurationError(source, path, f"no endpoint serves the model {model!r}; see the endpoints' `models`")
    return routes


def _endpoints(entries: Sequence[EndpointEntry], source: str) -> tuple[Endpoint, ...]:
    endpoints: list[Endpoint] = []
    names: dict[str, int] = {}
    for index, entry in enumerate(entries):
        try:
            endpoint = entry.endpoint()
        except ConfigurationError as exc:
            raise ConfigurationError(source, f"endpoints[{index}].{exc.path}", exc.reason) from None
        if endpoint.name in names:
            reason = f"the name {endpoint.name!r} is endpoints[{names[endpoint.name]}]'s already; give each its own"
            raise ConfigurationError(source, f"endpoints[{index}].name", reason)
        names[endpoint.name] = index
        endpoints.append(endpoint)
    return tuple(endpoints)


def dump_configuration(configuration: Configuration) -> str:
    """Return a configuration as the YAML that `load_configuration` reads. It holds the keys: keep it private."""
    endpoints = [endpoint_settings(endpoint) for endpoint in configuration.endpoints]
    settings = {
        "strategy": str(configuration.strategy),
        "timeout": configuration.timeout,
        "retry_count": configuration.retry_count,
        "fallback_on_failure": configuration.fallback_on_failure,
        "max_answer_bytes": configuration.max_answer_bytes,
        "require_keys": configuration.require_keys,
        "health_check": asdict(configuration.health_check),
        "hedge": {"max": configuration.most_hedges},
        "prefix_affinity": configuration.prefix_affinity,
        "redis_url": configuration.redis_url,
        "store": configuration.store,
        "endpoints": endpoints,
        "chat": _without_none(asdict(configuration.chat)),
        "log": _without_none(asdict(configuration.log)),
        "webhooks": {"private_addresses": configuration.private_webhooks},
        "media_urls": str(configuration.media_urls),
        **_without_none({"connections_per_address": configuration.connections_per_address}),
        **({"cache": asdict(configuration.cache)} if configuration.cache else {}),
        **({"discover": [_discover_settings(each) for each in configuration.discover]} if configuration.discover else {}),
        **({"audit": {"file": configuration.audit_file}} if configuration.audit_file else {}),
        **routes_as_settings(configuration.routes),
    }
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _discover_settings(source: Discovery) -> dict[str, Any]:
    where: Any = source.where
    if source.kind == "kubernetes":
        where = _without_none({"service": source.where, "namespace": source.namespace})
    known = {"port": source.port, "scheme": source.scheme, "path": source.path, "endpoint": dict(source.endpoint)}
    return _without_none({source.kind: where, **known})


def endpoint_settings(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the entry of `endpoints` that makes it. It holds the key: keep it private."""
    settings = {name: value for name, value in asdict(endpoint).items() if value not in (None, {}, "")}
    if endpoint.price is not None:
        settings["price"] = _without_none(asdict(endpoint.price))
    if isinstance(endpoint.max_concurrency, AutoConcurrency):
        settings["max_concurrency"] = {"auto": asdict(endpoint.max_concurrency)}
    return settings


def _without_none(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
