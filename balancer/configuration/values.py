"""The validated configuration as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from balancer.endpoint import Endpoint
from balancer.http import MAX_ANSWER_BYTES, REQUEST_TIMEOUT
from balancer.routing import BalancingStrategy
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes

__all__ = [
    "SIMULATED_SCHEME",
    "CacheSettings",
    "ChatDefaults",
    "Configuration",
    "Discovery",
    "HealthCheck",
    "LogSettings",
    "MediaUrls",
]

SIMULATED_SCHEME = "mock://"
"""Addresses of simulated endpoints, which the command line starts (see docs/configuration.md)."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """The active check of every endpoint, each `interval` seconds."""

    enabled: bool = True
    interval: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """Whole answers to interactive requests that are kept: at most so many `entries`, each for `ttl` seconds."""

    entries: int = 1_000
    ttl: float = 300.0


@dataclass(frozen=True, slots=True)
class ChatDefaults:
    """What a turn of a conversation (`/api/v1/chat`, ChatService) has where its request leaves it out."""

    model: str | None = None
    system_message: str | None = None
    temperature: float = 0.7
    max_tokens: int = 1_000


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How processes log. `level` is DEBUG, INFO, WARNING or ERROR, None for each command's own; `file` is added to, beside
    standard error."""

    format: Literal["text", "json"] = "text"
    level: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where endpoints are found: by the addresses of the name `where`, in the files of that pattern, or behind the service of
    that name in a `namespace` of Kubernetes (None: this pod's). Each is `scheme://ADDRESS:port` and `path`, with the settings of
    `endpoint`, whose `${NAME}` are not filled in yet."""

    kind: Literal["dns", "file", "kubernetes"]
    where: str
    namespace: str | None = None
    port: int | None = None
    scheme: str = "http"
    path: str = "/v1"
    endpoint: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """What tells it apart from other sources."""
        return f"{self.kind}:{self.namespace + '/' if self.namespace else ''}{self.where}"


class MediaUrls(StrEnum):
    """Where the images, sounds and documents of a request may be."""

    DATA = "data"
    """In the request, as `data:` URLs."""
    HTTPS = "https"
    """Also at `https://` addresses of the public internet."""
    ANY = "any"
    """Wherever the endpoint fetches them from."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything that can be set. `redis_url` None means an embedded server; no endpoints, and nowhere to `discover` some, means
    a simulated one.

    `most_hedges` is how many stragglers of jobs may be sent a second time, for each request. With `prefix_affinity`, the gateway
    keeps chats that begin alike at one endpoint. With `private_webhooks`, those of jobs may be in a private network.
    `media_urls` is where the media in requests of the API's callers may be. One address
    may have `connections_per_address` to each process of the API. Each request and each change of keys, endpoints and
    jobs is added to `audit_file`. `notes` say what stands in a file of LiteLLM's, but
    can't be honoured: each with its path and the reason. `source` is the file that it was read from, "" if there was none; with
    `watch`, it is read again when that changes, and not after SIGHUP only.
    """

    endpoints: tuple[Endpoint, ...] = ()
    strategy: BalancingStrategy = BalancingStrategy.WEIGHTED
    timeout: float = REQUEST_TIMEOUT
    retry_count: int = 2
    fallback_on_failure: bool = True
    most_hedges: float = 0.02
    prefix_affinity: bool = True
    health_check: HealthCheck = HealthCheck()
    redis_url: str | None = None
    store: str = "./data"
    api_keys: tuple[str, ...] = ()
    require_keys: bool = False
    max_answer_bytes: int = MAX_ANSWER_BYTES
    routes: ModelRoutes = NO_ROUTES
    chat: ChatDefaults = ChatDefaults()
    cache: CacheSettings | None = None
    private_webhooks: bool = False
    media_urls: MediaUrls = MediaUrls.HTTPS
    connections_per_address: int | None = None
    log: LogSettings = LogSettings()
    audit_file: str | None = None
    discover: tuple[Discovery, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = field(default="", compare=False)
    watch: bool = field(default=False, compare=False)

    @property
    def is_simulated(self) -> bool:
        """Whether there are no endpoints, and none will be found."""
        return not self.endpoints and not self.discover
