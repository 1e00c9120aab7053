"""The one place that reads settings: a YAML file, the environment and a `.env` file, checked and made into objects.

The file's shape is described in docs/configuration.md. Everything that can't be used is refused with the file, the path in
it and the reason; nothing is ignored in silence.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from balancer.endpoint import DEFAULT_MAX_CONCURRENCY, Endpoint, Price, default_name
from balancer.errors import ConfigurationError
from balancer.providers import provider_names
from balancer.strategy import BalancingStrategy

__all__ = ["SIMULATED_SCHEME", "Configuration", "HealthCheck", "dump_configuration", "load_configuration"]

SIMULATED_SCHEME = "mock://"
"""Addresses of simulated endpoints, which the command line starts (see docs/configuration.md)."""
LONGEST_SECONDS = 7 * 86400.0
"""No timeout or interval may be longer."""
_FROM_ENVIRONMENT = {
    "strategy": "LLM_STRATEGY",
    "timeout": "LLM_TIMEOUT",
    "health_check": "LLM_HEALTH_CHECK",
    "redis_url": "ROADBALANCER_REDIS_URL",
    "store": "ROADBALANCER_STORE",
}
"""Settings that variables may give: where they do, an error names the variable."""
_ENDPOINT_NAME = re.compile(r"[^\s,/{}|][^,/{}|\x00-\x1f]{0,63}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The active check of every endpoint, each `interval` seconds."""

    enabled: bool = True
    interval: float = 30.0


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that can be set. `redis_url` None means an embedded server; no endpoints means a simulated one."""

    endpoints: tuple[Endpoint, ...] = ()
    strategy: BalancingStrategy = BalancingStrategy.WEIGHTED
    timeout: float = 60.0
    retry_count: int = 2
    fallback_on_failure: bool = True
    health_check: HealthCheck = HealthCheck()
    redis_url: str | None = None
    store: str = "./data"
    api_keys: tuple[str, ...] = ()


def load_configuration(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Configuration:
    """Read the configuration from `path`, else from the file that `ROADBALANCER_CONFIG` names, and the environment.

    Variables beat the file for `redis_url` and `store`; `LLM_*` and provider keys count only where the file names no
    endpoints. `environ` replaces the process's environment and `.env`. Raises ConfigurationError.
    """
    env = environment() if environ is None else environ
    source = path or env.get("ROADBALANCER_CONFIG") or None
    settings = _read_file(Path(source), env) if source else {}
    given: dict[str, Any] = {} if settings.get("endpoints") else _settings_from_environment(env)
    for key in ("redis_url", "store"):
        if env.get(_FROM_ENVIRONMENT[key]):
            given[key] = env[_FROM_ENVIRONMENT[key]]
    keys = tuple(part.strip() for part in env.get("ROADBALANCER_API_KEYS", "").split(",") if part.strip())
    return _build(settings | given, str(source or "environment"), frozenset(given), keys)


def environment() -> dict[str, str]:
    """Return the process's environment over the variables of a `.env` file in the working directory."""
    return {k: v for k, v in dotenv_values(".env").items() if v is not None} | dict(os.environ)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` and `on` as true, which pydantic would take for 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("must not be true or false")
        return value


class _PriceFile(_Strict):
    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class _EndpointFile(_Strict):
    url: str
    name: str | None = None
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    provider: str | None = None
    models: list[str] | dict[str, str] = Field(default_factory=list)
    api_key: str | None = None
    max_concurrency: Annotated[int, Field(gt=0, le=100_000)] = DEFAULT_MAX_CONCURRENCY
    priority: int = 0
    rpm: Annotated[int, Field(gt=0)] | None = None
    tpm: Annotated[int, Field(gt=0)] | None = None
    price: _PriceFile | None = None
    drop_params: bool = False
    options: dict[str, str] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _url_is_http(cls, url: str) -> str:
        if not url.startswith(SIMULATED_SCHEME) and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
            raise ValueError("must be an http:// or https:// address without query, such as http://gpu1:8000/v1")
        return url

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str | None) -> str | None:
        if name is not None and not _ENDPOINT_NAME.fullmatch(name):
            raise ValueError("must be 1 to 64 characters without commas, slashes, braces, bars or control characters")
        return name

    @field_validator("api_key")
    @classmethod
    def _api_key_fits_a_header(cls, key: str | None) -> str | None:
        # A key that was read from a file often has a line break at its end.
        if key is not None and not re.fullmatch(r"[\x21-\x7e]*", key.strip()):
            raise ValueError("must be letters, digits and signs of ASCII, without spaces or line breaks")
        return (key and key.strip()) or None

    @field_validator("provider")
    @classmethod
    def _provider_is_known(cls, provider: str | None) -> str | None:
        if provider is not None and provider not in provider_names():
            raise ValueError(f"must be one of {', '.join(provider_names())}")
        return provider

    def endpoint(self) -> Endpoint:
        models = self.models if isinstance(self.models, dict) else {name: name for name in self.models}
        fields = self.model_dump(exclude={"price", "models", "name", "provider"})
        price = Price(self.price.input, self.price.output) if self.price else None
        provider = self.provider or "openai"
        name = self.name or default_name(self.url.rstrip("/"))
        return Endpoint(**fields, name=name, provider=provider, models=dict(models), price=price)


class _HealthCheckFile(_Strict):
    enabled: bool = True
    interval: Annotated[float, Field(ge=0.1, le=LONGEST_SECONDS)] = 30.0


class _File(_Strict):
    strategy: Literal["round_robin", "weighted", "least_connections", "random"] = "weighted"
    timeout: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = 60.0
    retry_count: Annotated[int, Field(ge=0, le=100)] = 2
    fallback_on_failure: bool = True
    health_check: _HealthCheckFile = _HealthCheckFile()
    redis_url: str | None = None
    store: Annotated[str, Field(min_length=1)] = "./data"
    endpoints: list[_EndpointFile] = Field(default_factory=list)

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"(rediss?|unix)://", url):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url


def _build(settings: dict[str, Any], source: str, from_environment: frozenset[str], api_keys: tuple[str, ...]) -> Configuration:
    try:
        checked = _File.model_validate(settings)
    except ValidationError as exc:
        first = exc.errors()[0]
        key = first["loc"][0] if first["loc"] else ""
        if key in from_environment:
            path = _FROM_ENVIRONMENT.get(str(key)) or _path_of(first["loc"])
            raise ConfigurationError("environment", path, _reason_of(first)) from None
        raise ConfigurationError(source, _path_of(first["loc"]), _reason_of(first)) from None
    endpoints = tuple(entry.endpoint() for entry in checked.endpoints)
    _refuse_duplicates(endpoints, source)
    return Configuration(
        endpoints=endpoints,
        strategy=BalancingStrategy(checked.strategy),
        timeout=checked.timeout,
        retry_count=checked.retry_count,
        fallback_on_failure=checked.fallback_on_failure,
        health_check=HealthCheck(checked.health_check.enabled, checked.health_check.interval),
        redis_url=checked.redis_url,
        store=checked.store,
        api_keys=api_keys,
    )


def _path_of(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step not in ("list[str]", "dict[str,str]"):
            path += f".{step}" if path else step
    return path


def _reason_of(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; check the spelling against the list of keys in docs/configuration.md"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    if "api_key" in error["loc"] or not isinstance(given, str | int | float | bool):
        return message
    return f"{message} (got {_without_password(given)!r})"


def _without_password(given: str | float) -> str | float:
    """Leave out what may be a password in an address."""
    return re.sub(r"(//|^)[^/]*@", r"\1…@", given) if isinstance(given, str) else given


def _refuse_duplicates(endpoints: tuple[Endpoint, ...], source: str) -> None:
    seen: dict[str, int] = {}
    for index, endpoint in enumerate(endpoints):
        if endpoint.name in seen:
            reason = f"the name {endpoint.name!r} is endpoints[{seen[endpoint.name]}]'s already; give each its own"
            raise ConfigurationError(source, f"endpoints[{index}].name", reason)
        seen[endpoint.name] = index


def _read_file(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(str(path), "", f"can't be read: {exc}") from exc
    try:
        content = yaml.load(text, _StrictLoader)
    except yaml.YAMLError as exc:
        raise ConfigurationError(str(path), "", f"is not valid YAML: {_yaml_problem(exc)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(str(path), "", "must be a mapping of keys, such as `endpoints:`")
    settings: dict[str, Any] = _fill_variables(content, env, str(path), "")
    return settings


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML forbids it, and PyYAML would take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _yaml_problem(error: yaml.YAMLError) -> str:
    """Say what is wrong and where, without the line itself: there may be a key in it."""
    problem = getattr(error, "problem", None) or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else str(problem)


def _fill_variables(value: Any, env: Mapping[str, str], source: str, path: str) -> Any:
    """Replace `${NAME}` in every string by the variable's value; a variable that isn't set is an error."""
    if isinstance(value, dict):
        return {k: _fill_variables(v, env, source, f"{path}.{k}" if path else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_fill_variables(v, env, source, f"{path}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if match[1] not in env:
            raise ConfigurationError(source, path, f"the environment variable {match[1]} is not set")
        return env[match[1]]

    return _VARIABLE.sub(fill, value)


def _settings_from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Make settings from `LLM_*`; without `LLM_ENDPOINTS`, endpoints from the provider keys found."""
    settings: dict[str, Any] = {}
    if env.get("LLM_ENDPOINTS"):
        settings["endpoints"] = _endpoints_from_lists(env)
    elif env.get("OPENAI_API_KEY"):
        settings["endpoints"] = [{"url": "https://api.openai.com/v1", "name": "openai", "api_key": env["OPENAI_API_KEY"]}]
    for key, variable in (("strategy", "LLM_STRATEGY"), ("timeout", "LLM_TIMEOUT")):
        if env.get(variable):
            settings[key] = env[variable]
    if env.get("LLM_HEALTH_CHECK"):
        settings["health_check"] = {"enabled": env["LLM_HEALTH_CHECK"]}
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


def dump_configuration(configuration: Configuration) -> str:
    """Return a configuration as the YAML that `load_configuration` reads. It holds the keys: keep it private."""
    endpoints = [
        {name: value for name, value in asdict(endpoint).items() if value not in (None, {}, "")}
        for endpoint in configuration.endpoints
    ]
    settings = {
        "strategy": str(configuration.strategy),
        "timeout": configuration.timeout,
        "retry_count": configuration.retry_count,
        "fallback_on_failure": configuration.fallback_on_failure,
        "health_check": asdict(configuration.health_check),
        "redis_url": configuration.redis_url,
        "store": configuration.store,
        "endpoints": endpoints,
    }
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
