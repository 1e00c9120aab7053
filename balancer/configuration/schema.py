"""The schema of the project's own configuration file (see docs/configuration.md)."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from balancer.configuration.discovery import DiscoverEntry
from balancer.configuration.fields import (
    LONGEST_SECONDS,
    Address,
    Checked,
    EndpointFields,
    EndpointName,
    Options,
    ProviderName,
    Retries,
    Seconds,
)
from balancer.configuration.refusals import refusal
from balancer.configuration.routes import AutoEntry, Routes
from balancer.configuration.validation import batch_problem, model_problems, option_problems
from balancer.configuration.values import CacheSettings, ChatDefaults, HealthCheck, LogSettings
from balancer.endpoint import Endpoint, Price, default_name
from balancer.errors import ConfigurationError
from balancer.http import MAX_ANSWER_BYTES, REQUEST_TIMEOUT
from balancer.providers import facts_of, guess_provider
from balancer.state.redis_connection import check_address

__all__ = ["ConfigurationFile", "EndpointEntry", "HealthCheckEntry", "PriceEntry", "checked_endpoint"]


class _Strict(Checked):
    model_config = ConfigDict(extra="forbid")


class PriceEntry(_Strict):
    """USD per million tokens."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)] | None = None


class EndpointEntry(EndpointFields, _Strict):
    """One entry of `endpoints`."""

    url: Address | None = None
    name: EndpointName | None = None
    provider: ProviderName | None = None
    models: list[str] | dict[str, str] = Field(default_factory=list)
    price: PriceEntry | None = None
    options: Options = Field(default_factory=dict)

    def endpoint(self) -> Endpoint:
        """Return the endpoint, with its provider's address and name where it has none of its own. Raises ConfigurationError with
        the field in `path` and no source."""
        provider = self.provider or (guess_provider(self.url) if self.url else "")
        url = self.url or (facts_of(provider).default_url if provider else None)
        if url is None:
            also = f"; {provider} has no address of its own" if provider else ", unless `provider` names one that has its own"
            raise ConfigurationError("", "url", f"this key is required{also}")
        models = self.models if isinstance(self.models, dict) else {name: name for name in self.models}
        for path, reason in (*option_problems(provider, self.options), *model_problems(models)):
            raise ConfigurationError("", path, reason)
        fields = {name: getattr(self, name) for name in EndpointFields.model_fields}
        price = Price(self.price.input, self.price.output, self.price.cached) if self.price else None
        name = self.name or default_name(url.rstrip("/"))
        options = dict(self.options)
        endpoint = Endpoint(url, **fields, name=name, provider=provider, models=dict(models), price=price, options=options)
        if problem := batch_problem(endpoint):
            raise ConfigurationError("", *problem)
        return endpoint


def checked_endpoint(settings: dict[str, Any], source: str) -> Endpoint:
    """Make one endpoint from the keys that an entry of `endpoints` has. Raises ConfigurationError."""
    try:
        return EndpointEntry.model_validate(settings).endpoint()
    except ValidationError as exc:
        raise refusal(exc, source, schema=EndpointEntry) from None
    except ConfigurationError as exc:
        raise ConfigurationError(source, exc.path, exc.reason) from None


class HealthCheckEntry(_Strict):
    """`health_check`."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=0.1, le=LONGEST_SECONDS)] = 30.0

    def value(self) -> HealthCheck:
        return HealthCheck(self.enabled, self.interval)


class HedgeEntry(_Strict):
    """`hedge`."""

    max: Annotated[float, Field(ge=0, le=1)] = 0.02


class CacheEntry(_Strict):
    """`cache`."""

    entries: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    ttl: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)] = 300.0

    def value(self) -> CacheSettings:
        return CacheSettings(self.entries, self.ttl)


class ChatEntry(_Strict):
    """`chat`."""

    model: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    system_message: Annotated[str, Field(max_length=1_000_000)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000

    def value(self) -> ChatDefaults:
        return ChatDefaults(self.model, self.system_message, self.temperature, self.max_tokens)


class WebhooksEntry(_Strict):
    """`webhooks`."""

    private_addresses: bool = False


FilePath = Annotated[str, Field(min_length=1, max_length=4096)]


class LogEntry(_Strict):
    """`log`."""

    format: Literal["text", "json"] = "text"
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = None
    file: FilePath | None = None

    @field_validator("level", mode="before")
    @classmethod
    def _level_in_any_case(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level

    def value(self) -> LogSettings:
        return LogSettings(self.format, self.level, self.file)


class AuditEntry(_Strict):
    """`audit`."""

    file: FilePath


class ConfigurationFile(_Strict):
    """A whole file."""

    strategy: Literal["round_robin", "weighted", "least_connections", "random"] = "weighted"
    timeout: Seconds = REQUEST_TIMEOUT
    retry_count: Retries = 2
    fallback_on_failure: bool = True
    max_answer_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = MAX_ANSWER_BYTES  # Redis takes up to 512 MB at once
    health_check: HealthCheckEntry = HealthCheckEntry()
    hedge: HedgeEntry = HedgeEntry()
    prefix_affinity: bool = True
    require_keys: bool = False
    redis_url: str | None = None
    store: Annotated[str, Field(min_length=1)] = "./data"
    endpoints: list[EndpointEntry] = Field(default_factory=list)
    routes: Routes = Field(default_factory=dict)
    auto: AutoEntry | None = None
    chat: ChatEntry = ChatEntry()
    cache: CacheEntry | None = None
    webhooks: WebhooksEntry = WebhooksEntry()
    media_urls: Literal["data", "https", "any"] = "https"
    connections_per_address: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    log: LogEntry = LogEntry()
    audit: AuditEntry | None = None
    discover: list[DiscoverEntry] = Field(default_factory=list, max_length=100)

    @field_validator("strategy", mode="before")
    @classmethod
    def _strategy_in_any_case(cls, strategy: Any) -> Any:
        return strategy.lower() if isinstance(strategy, str) else strategy

    @field_validator("discover", mode="before")
    @classmethod
    def _discover_may_be_one(cls, discover: Any) -> Any:
        return [discover] if isinstance(discover, dict) else discover

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: str | None) -> str | None:
        if url is not None:
            check_address(url)
        return url
