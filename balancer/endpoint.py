"""An endpoint: address, models, limits and price."""

from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["AutoConcurrency", "Endpoint", "Price", "covers", "default_name", "is_pattern"]


@dataclass(frozen=True, slots=True)
class Price:
    """What an endpoint charges, in USD per million tokens. `cached` is for those of the prompt that it has in its cache; None if
    they cost what others do."""

    input: float
    output: float
    cached: float | None = None


@dataclass(frozen=True, slots=True)
class AutoConcurrency:
    """A limit of the requests in flight that finds itself: where it starts while nothing is known, and the most it may become."""

    start: int = 32
    max: int = 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that answers chat requests: where it is, what it serves, and how much it can take.

    `models` maps the names that users ask for to the names that the endpoint knows; the first is for requests that name none. A
    name that ends in `*` stands for all that begin so, which are sent as they are. Empty means that the endpoint itself is asked.
    `max_tokens` and `temperature` are defaults for requests that set none; `max_tokens` is an upper bound too. `max_concurrency`
    bounds the requests in flight, by a number or as far as the endpoint gets more done with more of them; `reserve` of these are
    kept for interactive requests. `rpm` and `tpm` are requests and tokens per minute. `priority` is a tier: lower ones first,
    higher ones as fallbacks. `drop_params` leaves out sampling fields that the provider refuses, instead of refusing the request;
    with `stream_upstream` it is asked for streams even where the caller wants whole answers. With `cache`, Anthropic's
    `cache_control` is added to system messages that consecutive lines of a job share. `price_class` is the processing of requests
    that name no service tier (see balancer.usage.price_class). With `batch`, lines of jobs may be handed in as the provider's
    batches, of which `queued_tokens` may be under way (None: any number). `options` are the provider's own settings (see its
    adapter)."""

    url: str
    name: str = ""
    weight: float = 1.0
    max_tokens: int | None = None
    temperature: float | None = None
    provider: str = "openai"
    models: dict[str, str] = field(default_factory=dict)
    api_key: str | None = field(default=None, repr=False)
    max_concurrency: int | AutoConcurrency = AutoConcurrency()
    reserve: int = 0
    priority: int = 0
    rpm: int | None = None
    tpm: int | None = None
    price: Price | None = None
    drop_params: bool = False
    stream_upstream: bool = False
    cache: bool = False
    price_class: str = "standard"
    batch: bool = False
    queued_tokens: int | None = None
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url if self.url == "mock://" else self.url.rstrip("/"))
        if not self.name:
            object.__setattr__(self, "name", default_name(self.url))

    @property
    def address(self) -> str:
        """The URL without user, password and query, to be shown."""
        scheme, _, rest = self.url.partition("?")[0].partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    @property
    def first_limit(self) -> int:
        """The requests that may be in flight before anything has been learned."""
        limit = self.max_concurrency
        return min(limit.start, limit.max) if isinstance(limit, AutoConcurrency) else limit


def is_pattern(model: str) -> bool:
    """Whether an entry of `models` stands for every name that begins like it: `gpt-*`, or `*` for any."""
    return model.endswith("*")


def covers(models: Collection[str], model: str) -> bool:
    """Whether `model` is one of `models`, by its name or by a pattern's."""
    return model in models or any(is_pattern(known) and model.startswith(known[:-1]) for known in models)


def default_name(url: str) -> str:
    """Name an endpoint after its host and port: `http://gpu1:8000/v1` is `gpu1:8000`."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an IPv6 address
        return url
    return parts.netloc.rsplit("@", 1)[-1] or parts.scheme
