"""Reads a LiteLLM proxy's configuration: endpoints from `model_list`, settings where there are such here, notes on the rest."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from balancer.configuration.litellm_entry import WITHOUT_MEANING, LeftOut, ReadEntry, read_entry
from balancer.configuration.litellm_schema import LiteLLMFile
from balancer.configuration.refusals import refusal
from balancer.endpoint import AutoConcurrency, Endpoint, default_name
from balancer.errors import ConfigurationError

__all__ = ["LiteLLMReading", "read_litellm"]

LONGEST_NAME = 64
"""Characters of an endpoint's name."""
_STRATEGIES = {"simple-shuffle": "weighted", "least-busy": "least_connections"}
_NO_FALLBACKS = (
    "models as fallbacks of other models are not taken over; entries of one model_name do stand in for one another; "
    "for more, write `routes`"
)
_NO_CALLBACKS = "there are no callbacks; /metrics and the usage page tell what happens"
_OWN_REDIS = "Redis is named by `redis_url` or ROADBALANCER_REDIS_URL"
_WHY = {
    "fallbacks": _NO_FALLBACKS,
    "default_fallbacks": _NO_FALLBACKS,
    "context_window_fallbacks": _NO_FALLBACKS,
    "content_policy_fallbacks": _NO_FALLBACKS,
    "callbacks": _NO_CALLBACKS,
    "success_callback": _NO_CALLBACKS,
    "failure_callback": _NO_CALLBACKS,
    "cache": "answers are not cached",
    "cache_params": "answers are not cached",
    "custom_provider_map": "a provider of one's own is an adapter, see docs/providers.md",
    "redis_url": _OWN_REDIS,
    "redis_host": _OWN_REDIS,
    "redis_port": _OWN_REDIS,
    "redis_password": _OWN_REDIS,
    "general_settings": "the settings of LiteLLM's own server; keys of this one's users stand in ROADBALANCER_API_KEYS",
    "environment_variables": "set them in the environment or in a .env file",
    "include": "other files are not read",
}


@dataclass(frozen=True, slots=True)
class LiteLLMReading:
    """`settings` have this project's own keys. `notes` are what can't be honoured, each with its path."""

    settings: Mapping[str, Any]
    endpoints: tuple[Endpoint, ...]
    notes: tuple[str, ...]


def read_litellm(content: Mapping[str, Any], env: Mapping[str, str], source: str, own_keys: Collection[str]) -> LiteLLMReading:
    """Read the content of a file with `model_list`. `own_keys` may stand in it too: they are handed on, and win.

    Raises ConfigurationError for what is wrong, and if there is nothing left that could be used.
    """
    own = {name: value for name, value in content.items() if name in own_keys}
    try:
        file = LiteLLMFile.model_validate(_without_nulls({name: content[name] for name in content if name not in own}))
    except ValidationError as exc:
        raise refusal(exc, source, schema=LiteLLMFile) from None
    notes: list[str] = []
    entries = _entries(file, env, source, notes)
    if not entries:
        why = notes[0] if notes else "it is empty"
        raise ConfigurationError(source, "model_list", f"no entry of it can be used: {why}")
    settings = _settings(file, list(entries.values()), notes)
    notes += _other_timeouts(entries, own.get("timeout", settings.get("timeout")))
    notes += _unused(file)
    return LiteLLMReading(settings | own, _named(_merged([read.endpoint for read in entries.values()])), tuple(notes))


def _without_nulls(value: Any) -> Any:
    """Leave out keys that stand there without a value, as LiteLLM does."""
    if isinstance(value, list):
        return [_without_nulls(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _without_nulls(entry) for name, entry in value.items() if entry is not None}
    return value


def _entries(file: LiteLLMFile, env: Mapping[str, str], source: str, notes: list[str]) -> dict[int, ReadEntry]:
    """Read the entries that can be used, by their place in the list; add a note about each of the others."""
    entries: dict[int, ReadEntry] = {}
    for index, entry in enumerate(file.model_list):
        place = f"model_list[{index}]"
        try:
            entries[index] = read_entry(entry, env, file.litellm_settings.drop_params)
        except LeftOut as exc:
            notes.append(f"{place}.{exc.path}: {entry.model_name!r} is left out: {exc.reason}")
            continue
        except ConfigurationError as exc:
            raise ConfigurationError(source, f"{place}.{exc.path}", exc.reason) from None
        notes += [f"{place}.{note}" for note in entries[index].notes]
    return entries


def _settings(file: LiteLLMFile, entries: Sequence[ReadEntry], notes: list[str]) -> dict[str, Any]:
    """Return the settings that LiteLLM's stand for. Where two of them say the same thing, the router's counts."""
    router, module = file.router_settings, file.litellm_settings
    strategy = _STRATEGIES.get(router.routing_strategy)
    if strategy is None:
        notes.append(f"router_settings.routing_strategy: {router.routing_strategy!r} has no counterpart here; weighted is used")
    for path, beaten, winner in (
        ("litellm_settings.num_retries", module.num_retries, router.num_retries),
        ("litellm_settings.request_timeout", module.request_timeout, router.timeout),
    ):
        if None not in (beaten, winner) and beaten != winner:
            notes.append(f"{path}: router_settings says {winner}, which counts")
    own = [read.timeout for read in entries if read.timeout is not None]
    found = {
        "strategy": strategy or "weighted",
        "retry_count": module.num_retries if router.num_retries is None else router.num_retries,
        "timeout": router.timeout or module.request_timeout or max(own, default=None),
    }
    return {name: value for name, value in found.items() if value is not None}


def _other_timeouts(entries: Mapping[int, ReadEntry], timeout: object) -> Iterator[str]:
    for index, read in entries.items():
        if read.timeout not in (None, timeout):
            yield f"model_list[{index}].litellm_params.timeout: there is one timeout for all endpoints, {timeout} seconds"


def _unused(file: LiteLLMFile) -> Iterator[str]:
    for section in ("litellm_settings", "router_settings"):
        for name in getattr(file, section).others():
            yield f"{section}.{name}: {_WHY.get(name, WITHOUT_MEANING)}"
    for name in file.others():
        yield f"{name}: {_WHY.get(name, WITHOUT_MEANING)}"


def _merged(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Make one endpoint of those that differ in their models only.

    Not of those with limits, which LiteLLM counts for each model; nor of two for the same model, which share its load.
    """
    merged: list[Endpoint] = []
    for endpoint in endpoints:
        model = next(iter(endpoint.models))
        for place, other in enumerate(merged):
            if replace(other, models=endpoint.models) == endpoint and model not in other.models and not _is_limited(endpoint):
                merged[place] = replace(other, models=other.models | endpoint.models)
                break
        else:
            merged.append(endpoint)
    return merged


def _is_limited(endpoint: Endpoint) -> bool:
    return bool(endpoint.rpm or endpoint.tpm or not isinstance(endpoint.max_concurrency, AutoConcurrency))


def _named(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Name each after its host; where several are on one host, after their first model too; then by number."""
    hosts = [default_name(endpoint.url) for endpoint in endpoints]
    named: dict[str, Endpoint] = {}
    for endpoint, host in zip(endpoints, hosts, strict=True):
        name = host if hosts.count(host) == 1 else f"{_plain(next(iter(endpoint.models)))}@{host}"
        number, unique = 1, name[:LONGEST_NAME]
        while unique in named:
            number += 1
            unique = f"{name[: LONGEST_NAME - 4]}-{number}"
        named[unique] = replace(endpoint, name=unique)
    return tuple(named.values())


def _plain(model: str) -> str:
    """Leave out the signs that a name can't have."""
    return "".join("-" if sign in ",/{}|" or not sign.isprintable() else sign for sign in model).strip() or "model"
