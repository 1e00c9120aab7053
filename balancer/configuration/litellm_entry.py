"""Makes an endpoint of one entry of LiteLLM's `model_list`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from balancer.configuration.litellm_schema import LiteLLMEntry, LiteLLMParams
from balancer.configuration.provider_keys import PREFERRED
from balancer.configuration.refusals import refusal
from balancer.configuration.validation import option_problems
from balancer.endpoint import AutoConcurrency, Endpoint, Price, covers, is_pattern
from balancer.errors import ConfigurationError
from balancer.providers import facts_of, problem_with

__all__ = ["WITHOUT_MEANING", "LeftOut", "ReadEntry", "read_entry"]

WITHOUT_MEANING = "has no counterpart here"
FROM_ENVIRONMENT = "os.environ/"
PER_MILLION = 1e6
_PROVIDERS = {
    "hosted_vllm": "vllm",
    "custom_openai": "openai",
    "openai_like": "openai",
    "litellm_proxy": "openai",
    "together_ai": "together",
}
"""LiteLLM's names for formats that have another one here."""
_OPTIONS = {
    "azure": {"api_version": "version"},
    "bedrock": {"aws_region_name": "region", "aws_profile_name": "profile"},
}
"""By provider, LiteLLM's names for options that have another one here."""
_RESPONSES = "responses/"
"""`openai/responses/gpt-x` asks for OpenAI's Responses API."""
_CHAT_MODES = (None, "chat", "completion", "responses")


class LeftOut(Exception):
    """An entry can't be used here. `path` is the place within the entry, `reason` says why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """An endpoint for one model, its own seconds of timeout, and what is not honoured: places in the entry, with the reason."""

    endpoint: Endpoint
    timeout: float | None
    notes: tuple[str, ...]


def read_entry(entry: LiteLLMEntry, env: Mapping[str, str], drop_params: bool) -> ReadEntry:
    """Return the endpoint of an entry. Raises LeftOut, and ConfigurationError (with the place in the entry, and no source)."""
    mode = entry.model_info.get("mode")
    if mode not in _CHAT_MODES:
        raise LeftOut("model_info.mode", f"only chat is balanced, not {mode!r}")
    provider, upstream = _provider_and_model(str(entry.params.get("model") or ""))
    upstream, options = _responses(provider, upstream)
    _check_pattern(entry.model_name, upstream)
    params = _params(entry.params, provider, env)
    own = facts_of(provider).options
    options |= {name: str(value) for name, value in params.others().items() if name in own}
    url = _url(provider, params, options)
    key, more = _from_environment(provider, env) if params.api_base is None else (None, {})
    options = more | options
    for path, reason in option_problems(provider, options):
        raise ConfigurationError("", f"litellm_params.{path.removeprefix('options.')}", reason)
    endpoint = Endpoint(
        url,
        weight=params.weight,
        max_tokens=params.max_tokens,
        temperature=params.temperature,
        provider=provider,
        models={entry.model_name: "" if provider == "laas" else upstream},
        api_key=params.api_key or key,
        max_concurrency=params.max_parallel_requests or AutoConcurrency(),
        priority=params.order - 1,
        rpm=params.rpm,
        tpm=params.tpm,
        price=_price(params),
        drop_params=drop_params if params.drop_params is None else params.drop_params,
        options=options,
    )
    return ReadEntry(endpoint, params.timeout, tuple(_notes(entry, params, provider)))


def _notes(entry: LiteLLMEntry, params: LiteLLMParams, provider: str) -> Iterator[str]:
    if provider == "laas":
        yield f"litellm_params.model: {params.model!r} is not sent; the preset fixes the model"
    unused = [name for name in params.others() if name not in facts_of(provider).options]
    for path in (
        *(f"litellm_params.{name}" for name in unused),
        *(f"model_info.{name}" for name in entry.model_info if name != "mode"),
        *entry.others(),
    ):
        yield f"{path}: {WITHOUT_MEANING}"


def _provider_and_model(model: str) -> tuple[str, str]:
    """Split `provider/name`. A bare name is OpenAI's or Anthropic's if it looks like theirs."""
    prefix, slash, name = model.partition("/")
    if not slash:
        known = next((k for k in (PREFERRED["openai"], PREFERRED["claude"]) if covers(k.families, model)), None)
        if known is None:
            raise LeftOut("litellm_params.model", f"{model!r} says no provider; write provider/{model or 'name'}")
        return known.provider, model
    provider = _PROVIDERS.get(prefix, prefix)
    if provider == "bedrock":
        name = name.removeprefix("converse/")
    problem = problem_with(provider)
    if problem:
        raise LeftOut("litellm_params.model", f"the provider {prefix!r} is not supported: {problem}")
    return provider, name


def _responses(provider: str, upstream: str) -> tuple[str, dict[str, str]]:
    if provider == "openai" and upstream.startswith(_RESPONSES):
        return upstream.removeprefix(_RESPONSES), {"api": "responses"}
    return upstream, {}


def _check_pattern(alias: str, upstream: str) -> None:
    if "*" in alias + upstream and not (alias == upstream and is_pattern(alias) and alias.count("*") == 1):
        reason = "a pattern has to be the same on both sides, with * at its end, such as gpt-* for openai/gpt-*"
        raise LeftOut("model_name", f"{reason} (got {alias!r} for {upstream!r})")


def _params(raw: Mapping[str, Any], provider: str, env: Mapping[str, str]) -> LiteLLMParams:
    """Check the parameters that are read, with `os.environ/NAME` replaced in them."""
    read = {*LiteLLMParams.model_fields, *facts_of(provider).options}
    if "base_url" in raw and "api_base" not in raw:
        raw = {("api_base" if name == "base_url" else name): value for name, value in raw.items()}
    renamed = _OPTIONS.get(provider, {})
    raw = {renamed.get(name, name): value for name, value in raw.items()}
    filled = {name: _filled(name, value, env) if name in read else value for name, value in raw.items()}
    try:
        return LiteLLMParams.model_validate(filled)
    except ValidationError as exc:
        wrong = refusal(exc, "")
        raise ConfigurationError("", f"litellm_params.{wrong.path}", wrong.reason) from None


def _filled(name: str, value: Any, env: Mapping[str, str]) -> Any:
    if not isinstance(value, str) or not value.startswith(FROM_ENVIRONMENT):
        return value
    variable = value.removeprefix(FROM_ENVIRONMENT)
    if variable not in env:
        raise ConfigurationError("", f"litellm_params.{name}", f"the environment variable {variable} is not set")
    return env[variable]


def _url(provider: str, params: LiteLLMParams, options: Mapping[str, str]) -> str:
    url = params.api_base or facts_of(provider).default_url
    if url is None and provider == "bedrock" and options.get("region"):
        url = f"https://bedrock-runtime.{options['region']}.amazonaws.com"
    if url is None:
        raise LeftOut("litellm_params.api_base", f"is needed: {provider} has no address of its own")
    url = url.rstrip("/")
    if provider == "anthropic" and params.api_base:
        # LiteLLM puts /v1/messages behind the address if it isn't there.
        return url.removesuffix("/messages").removesuffix("/v1") + "/v1"
    return url


def _from_environment(provider: str, env: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return the key and the options that LiteLLM takes from the environment, for a provider's own address only."""
    for known in PREFERRED.values():
        if known.provider == provider:
            return known.key_in(env), known.options_in(env)
    return None, {}


def _price(params: LiteLLMParams) -> Price | None:
    given = (params.input_cost_per_token, params.output_cost_per_token)
    if given == (None, None):
        return None
    into, out, cached = (*given, params.cache_read_input_token_cost)
    return Price((into or 0.0) * PER_MILLION, (out or 0.0) * PER_MILLION, None if cached is None else cached * PER_MILLION)
