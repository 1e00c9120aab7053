"""The registry of providers: built in, from installed packages (entry points), and registered by programs.

A package offers one by an entry point in the group `roadbalancer.providers`: the provider's name, and its adapter's class. Entry
points are looked for when a name or a host is asked for that is not registered yet, or the list of all names.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from urllib.parse import urlsplit

from balancer.errors import ConfigurationError
from balancer.providers.base import Adapter
from balancer.providers.openai.services import SERVICES

__all__ = [
    "ENTRY_POINTS",
    "ProviderFacts",
    "Registry",
    "adapter_for",
    "facts_of",
    "guess_provider",
    "problem_with",
    "provider_names",
    "register",
]

ENTRY_POINTS = "roadbalancer.providers"
"""The group in which packages offer adapters."""
OPENAI_COMPATIBLE = "openai"
"""What a server speaks of which nothing else is known; also a part of a path that says so, such as Gemini's `/v1beta/openai`."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """What settings are checked and completed by: see the attributes of `Adapter` with these names."""

    default_url: str | None = None
    hosts: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    required_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _BuiltIn:
    """Where an adapter's class is, imported when it is first asked for, and what is known without it."""

    path: str
    facts: ProviderFacts = ProviderFacts()


_API = {"api": "`chat` (chat completions) or `responses` (the Responses API)"}
_CALLERS_KEYS = {"caller_keys": "`accept`: keys that callers of the chat API bring may be sent there"}
_BUILT_IN = {
    "openai": _BuiltIn(
        "balancer.providers.openai.adapter:OpenAIAdapter",
        ProviderFacts("https://api.openai.com/v1", ("api.openai.com",), _API | _CALLERS_KEYS),
    ),
    "vllm": _BuiltIn("balancer.providers.openai.vllm:VLLMAdapter", ProviderFacts(options=_API)),
    "anthropic": _BuiltIn(
        "balancer.providers.anthropic.adapter:AnthropicAdapter",
        ProviderFacts(
            "https://api.anthropic.com/v1",
            ("api.anthropic.com",),
            {"version": "the date in `anthropic-version`", "max_tokens": "the limit for requests that set none"},
        ),
    ),
    "gemini": _BuiltIn(
        "balancer.providers.gemini.adapter:GeminiAdapter",
        ProviderFacts("https://generativelanguage.googleapis.com/v1beta", ("generativelanguage.googleapis.com",)),
    ),
    "laas": _BuiltIn(
        "balancer.providers.laas.adapter:LaaSAdapter",
        ProviderFacts(
            "https://api-laas.wanted.co.kr/api/preset/v2",
            ("api-laas.wanted.co.kr", "api.ennoia.so"),
            {"project": "the project's code", "hash": "the preset for requests that name none"},
            ("project",),
        ),
    ),
    "bedrock": _BuiltIn(
        "balancer.providers.bedrock.adapter:BedrockAdapter",
        ProviderFacts(options={"region": "the AWS region, if the address does not have it", "profile": "the AWS profile"}),
    ),
    "azure": _BuiltIn(
        "balancer.providers.openai.azure:AzureAdapter",
        ProviderFacts(hosts=(".openai.azure.com",), options={"version": "`api-version`, a date such as 2024-10-21"}),
    ),
    **{
        name: _BuiltIn(
            f"balancer.providers.openai.service_adapter:{name}",
            ProviderFacts(service.url, (urlsplit(service.url).hostname or "",)),
        )
        for name, service in SERVICES.items()
    },
}


def _installed() -> Iterable[metadata.EntryPoint]:
    return metadata.entry_points(group=ENTRY_POINTS)


class Registry:
    """Adapters by name. Safe to use from many threads. `installed` finds the entry points."""

    def __init__(self, installed: Callable[[], Iterable[metadata.EntryPoint]] = _installed) -> None:
        self._installed = installed
        self._looked = False
        self._adapters: dict[str, Adapter] = {}
        self._broken: dict[str, str] = {}
        """Why an entry point can't be used, by its name."""
        self._lock = threading.RLock()

    def register(self, name: str, adapter: Adapter | type[Adapter], *, replace: bool = False) -> None:
        """Make a wire format known under `name`. Raises ConfigurationError for what is no adapter, a name that isn't plain lower
        case, and, without `replace`, the name of one that comes with the package."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError("register", repr(name), "must begin with a letter: a-z, 0-9, - and _, at most 32 of them")
        if name in _BUILT_IN and not replace:
            raise ConfigurationError("register", name, "comes with the package; to put another in its place, say replace=True")
        made = _instance(name, adapter)
        with self._lock:
            self._adapters[name] = made
            self._broken.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Return the names that an endpoint's `provider` may have."""
        self._look()
        return tuple(dict.fromkeys((*_BUILT_IN, *self._adapters)))

    def adapter_for(self, name: str) -> Adapter:
        """Return the adapter of a wire format. Raises KeyError for an unknown one, and ConfigurationError for one whose
        entry point can't be loaded."""
        with self._lock:
            if name not in self._adapters and name in _BUILT_IN:
                module, _, attribute = _BUILT_IN[name].path.partition(":")
                self._adapters[name] = getattr(import_module(module), attribute)()
            if name not in self._adapters:
                self._look()
            if name in self._broken:
                raise ConfigurationError("provider", name, self._broken[name])
            return self._adapters[name]

    def problem_with(self, name: str) -> str | None:
        """Say why no endpoint can have this provider; None if it can."""
        if name in _BUILT_IN or name in self._adapters:
            return None
        self._look()
        if name in self._broken:
            return self._broken[name]
        return None if name in self._adapters else f"must be one of {', '.join(self.names())} (got {name!r})"

    def facts_of(self, name: str) -> ProviderFacts:
        """Return what is known of a provider. Raises as `adapter_for` does."""
        built_in = _BUILT_IN[name].facts if name in _BUILT_IN else ProviderFacts()
        if name in _BUILT_IN and name not in self._adapters:
            return built_in
        adapter = self.adapter_for(name)
        return ProviderFacts(
            adapter.default_url or built_in.default_url,
            adapter.hosts or built_in.hosts,
            adapter.options or built_in.options,
            adapter.required_options or built_in.required_options,
        )

    def guess(self, url: str) -> str:
        """Say which format an endpoint at `url` speaks: its host's, else OpenAI's."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:  # half an IPv6 address
            return OPENAI_COMPATIBLE
        if host is None:
            return OPENAI_COMPATIBLE
        known = self._speaks(host)
        if OPENAI_COMPATIBLE in parts.path.split("/") and known not in SERVICES:
            return OPENAI_COMPATIBLE
        return known or (self._look() and self._speaks(host)) or OPENAI_COMPATIBLE

    def _speaks(self, host: str) -> str | None:
        names = {**_BUILT_IN, **self._adapters}
        return next((name for name in names if any(_is_at(host, known) for known in self.facts_of(name).hosts)), None)

    def _look(self) -> bool:
        """Load the entry points, once. Returns whether there are any that can be used."""
        with self._lock:
            if not self._looked:
                self._looked = True
                for entry_point in self._installed():
                    self._take(entry_point)
            return bool(self._adapters)

    def _take(self, entry_point: metadata.EntryPoint) -> None:
        name, where = entry_point.name, _described(entry_point)
        if name in _BUILT_IN or name in self._adapters:
            log.warning("%s is left out: there is a provider %r already", where, name)
            return
        try:
            self.register(name, entry_point.load())
        except Exception as exc:
            # Another package's code ran: whatever it raised, the providers beside it can be used.
            self._broken[name] = f"{where} can't be loaded: {type(exc).__name__}: {exc}"
            log.warning("%s", self._broken[name])


def _is_at(host: str, known: str) -> bool:
    """Whether a host is a known one, or below a known domain, which begins with a dot."""
    return host.endswith(known) if known.startswith(".") else host == known


def _described(entry_point: metadata.EntryPoint) -> str:
    package = f" of {entry_point.dist.name}" if entry_point.dist else ""
    return f"the entry point {entry_point.name} = {entry_point.value}{package} ({ENTRY_POINTS})"


def _instance(name: str, adapter: object) -> Adapter:
    if isinstance(adapter, type) and issubclass(adapter, Adapter):
        try:
            return adapter()
        except TypeError as exc:
            raise ConfigurationError("register", name, f"{adapter.__name__}() can't be made: {exc}") from exc
    if not isinstance(adapter, Adapter):
        raise ConfigurationError("register", name, f"must be a balancer.providers.Adapter or a class of it (got {adapter!r})")
    return adapter


_registry = Registry()
"""The process's own."""
register = _registry.register
provider_names = _registry.names
adapter_for = _registry.adapter_for
problem_with = _registry.problem_with
facts_of = _registry.facts_of
guess_provider = _registry.guess
