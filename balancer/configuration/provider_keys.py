"""The providers that a key in the environment is enough for, and the endpoints that such keys make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from balancer.errors import ConfigurationError
from balancer.providers import facts_of, problem_with, provider_names

__all__ = ["PREFERRED", "KeyedProvider", "available", "endpoint_settings", "keyed_provider"]


@dataclass(frozen=True, slots=True)
class KeyedProvider:
    """A provider under the name that clients have.

    `variables` are where its key may stand, the first that is set counts. A request that names no model gets that of `default`
    (the name that users see, and the upstream one), unless the variable `model_variable` names another. `families` are patterns
    of the names of the provider's models. `option_variables` are options of the endpoint, each with its variable. `url_variable`
    is where the address of a provider stands that has none of its own.
    """

    name: str
    provider: str
    variables: tuple[str, ...]
    default: tuple[str, str]
    model_variable: str = ""
    url_variable: str = ""
    families: tuple[str, ...] = ()
    option_variables: Mapping[str, str] = field(default_factory=dict)

    def key_in(self, env: Mapping[str, str]) -> str | None:
        """Return its key."""
        return next((env[variable].strip() for variable in self.variables if _is_set(variable, env)), None)

    def options_in(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the options of its endpoint that are set."""
        return {option: env[variable].strip() for option, variable in self.option_variables.items() if _is_set(variable, env)}

    def models_in(self, env: Mapping[str, str], wanted: str | None = None) -> dict[str, str]:
        """Return its models: the default (`wanted`, if given) at the front, then the patterns of all others."""
        wanted = wanted or env.get(self.model_variable, "").strip()
        alias, upstream = (wanted, wanted) if wanted else self.default
        first = {alias: upstream} if alias else {}
        return {**first, **{family: family for family in self.families}}

    def missing_in(self, env: Mapping[str, str]) -> list[str]:
        """Return the variables that are not set, but needed."""
        key = [] if self.key_in(env) else [" or ".join(self.variables)]
        others = (*self.option_variables.values(), *([self.url_variable] if self.url_variable else ()))
        return key + [variable for variable in others if not _is_set(variable, env)]

    def is_half_set_in(self, env: Mapping[str, str]) -> bool:
        """Whether some of its variables are set, but not all."""
        missing = self.missing_in(env)
        return 0 < len(missing) < 1 + len(self.option_variables) + bool(self.url_variable)


def _is_set(variable: str, env: Mapping[str, str]) -> bool:
    return bool(env.get(variable, "").strip())


_GEMINI = KeyedProvider(
    name="gemini",
    provider="gemini",
    variables=("GEMINI_API_KEY",),
    default=("gemini-3.8-flash", "gemini-3.8-flash"),
    model_variable="GEMINI_MODEL",
    families=("gemini-*", "gemma-*"),
)
_OPENAI = KeyedProvider(
    name="openai",
    provider="openai",
    variables=("OPENAI_API_KEY",),
    default=("gpt-5.4-mini", "gpt-5.4-mini"),
    model_variable="OPENAI_MODEL",
    families=("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "ft:*"),
)
_CLAUDE = KeyedProvider(
    name="claude",
    provider="anthropic",
    variables=("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
    default=("claude-sonnet-5-5", "claude-sonnet-5-5"),
    model_variable="CLAUDE_MODEL",
    families=("claude-*",),
)
_LAAS = KeyedProvider(
    name="laas",
    provider="laas",
    variables=("LAAS_API_KEY",),
    default=("laas", ""),  # the preset fixes the model: none is sent
    option_variables={"project": "LAAS_PROJECT_CODE", "hash": "LAAS_PRESET_HASH"},
)
PREFERRED: Mapping[str, KeyedProvider] = {known.name: known for known in (_GEMINI, _OPENAI, _CLAUDE, _LAAS)}
"""By name, the one to be asked first at the front."""
_OTHER_NAMES = {"anthropic": "claude"}


def keyed_provider(name: str) -> KeyedProvider:
    """Return a provider by its name: one of the preferred, or any other that an endpoint may have, such as one of your own: with
    its key in `NAME_API_KEY`, its model in `NAME_MODEL`, and, if it has no address of its own, that in `NAME_URL`.

    Raises ConfigurationError.
    """
    known = PREFERRED.get(_OTHER_NAMES.get(name, name))
    return known or _other_provider(name)


def _other_provider(name: str) -> KeyedProvider:
    if problem_with(name) is not None:
        names = ", ".join(dict.fromkeys((*PREFERRED, *_OTHER_NAMES, *provider_names())))
        raise ConfigurationError("client", repr(name), f"there is no such client; there are {names}")
    prefix = name.upper().replace("-", "_")
    return KeyedProvider(
        name=name,
        provider=name,
        variables=(f"{prefix}_API_KEY",),
        default=("", ""),
        model_variable=f"{prefix}_MODEL",
        url_variable="" if facts_of(name).default_url else f"{prefix}_URL",
    )


def available(env: Mapping[str, str]) -> list[KeyedProvider]:
    """Return the providers whose variables are all set, the preferred ones first."""
    return [known for known in PREFERRED.values() if not known.missing_in(env)]


def endpoint_settings(known: KeyedProvider, env: Mapping[str, str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return an entry of `endpoints` for the keys of a provider; what is `given` takes the place of what the variables say.

    `given` may have `model` beside the keys of an entry: the default model. Raises ConfigurationError that names what isn't set.
    """
    given = given or {}
    missing = [variable for variable in known.missing_in(env) if not _is_given(variable, known, given)]
    if missing:
        raise ConfigurationError("environment", missing[0], f"is not set; {known.name} needs {' and '.join(missing)}")
    found = {
        "name": known.name,
        "provider": known.provider,
        "url": env.get(known.url_variable, "").strip() or None,
        "api_key": known.key_in(env),
        "models": known.models_in(env, given.get("model")),
        "options": known.options_in(env),
        # The providers behind one client differ in what they take, and callers know none of them.
        "drop_params": True,
    }
    return {name: value for name, value in {**found, **given}.items() if value not in (None, {}) and name != "model"}


def _is_given(missing: str, known: KeyedProvider, given: Mapping[str, Any]) -> bool:
    if missing == known.url_variable:
        return bool(given.get("url"))
    if missing in known.option_variables.values():
        return "options" in given
    return bool(given.get("api_key") or given.get("url"))  # a server of one's own may want no key
