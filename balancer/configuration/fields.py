"""Field types that several configuration formats share, with their validation."""

import datetime
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from balancer.configuration.values import SIMULATED_SCHEME
from balancer.endpoint import AutoConcurrency
from balancer.providers import problem_with

__all__ = [
    "LONGEST_SECONDS",
    "Address",
    "ApiKey",
    "Checked",
    "Count",
    "EndpointFields",
    "EndpointName",
    "HttpAddress",
    "Options",
    "ProviderName",
    "Retries",
    "Seconds",
    "Temperature",
    "Weight",
]

LONGEST_SECONDS = 7 * 86400.0
"""No timeout or interval may be longer."""
MOST_WEIGHT = 1_000_000
MOST_CONCURRENCY = 100_000
_ADDRESS = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
"""An address that requests can be sent below: no query, no fragment."""
_ENDPOINT_NAME = re.compile(r"[^\s,/{}|][^,/{}|\x00-\x1f]{0,63}")


class Checked(BaseModel):
    """Base of everything that stands in a file. Frozen; no number may be infinite, or true or false."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        # YAML reads `yes` and `on` as true, which pydantic would take for 1.
        if isinstance(value, bool) and bool not in _kinds(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("must not be true or false")
        return value


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def _http(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = _ADDRESS.fullmatch(url) and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        is_address = False
    if not is_address:
        raise ValueError("must be an http:// or https:// address without query, such as http://gpu1:8000/v1")
    return url


def _http_or_simulated(url: str) -> str:
    return url if url.startswith(SIMULATED_SCHEME) else _http(url)


def _plain(name: str) -> str:
    if not _ENDPOINT_NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 characters without commas, slashes, braces, bars or control characters")
    return name


def _fits_a_header(key: str) -> str | None:
    # A key that was read from a file often has a line break at its end.
    if not re.fullmatch(r"[\x21-\x7e]*", key.strip()):
        raise ValueError("must be letters, digits and signs of ASCII, without spaces or line breaks")
    return key.strip() or None


def _known(provider: str) -> str:
    # The value is added by the code that reports the error.
    problem = problem_with(provider)
    if problem:
        raise ValueError(problem.removesuffix(f" (got {provider!r})"))
    return provider


def _limit_or_auto(given: Any, number: ValidatorFunctionWrapHandler) -> Any:
    """Take `auto`, `{auto: {start, max}}` or a number."""
    if given == "auto":
        return AutoConcurrency()
    if isinstance(given, AutoConcurrency):
        bounds: Any = {"start": given.start, "max": given.max}
    elif isinstance(given, Mapping):
        if set(given) != {"auto"} or not isinstance(given["auto"], Mapping):
            raise ValueError("must be a number, auto, or {auto: {start: 32, max: 1024}}")
        bounds = given["auto"]
    else:
        return number(given)
    usual = AutoConcurrency()
    if unknown := set(bounds) - {"start", "max"}:
        raise ValueError(f"auto has start and max, and no {', '.join(sorted(map(str, unknown)))}")
    most = bounds.get("max", usual.max)
    if type(most) is not int or not 0 < most <= MOST_CONCURRENCY:
        raise ValueError(f"max must be a whole number from 1 to {MOST_CONCURRENCY}")
    start = bounds.get("start", min(usual.start, most))
    if type(start) is not int or not 0 < start <= most:
        raise ValueError(f"start must be a whole number from 1 to max ({most})")
    return AutoConcurrency(start, most)


def _as_text(options: Any) -> Any:
    """Take numbers and dates, which YAML makes of `4096` and `2023-06-01`, for the text that they were."""
    if not isinstance(options, Mapping):
        return options
    return {name: _text(value) for name, value in options.items()}


def _text(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Address = Annotated[str, AfterValidator(_http_or_simulated)]
ApiKey = Annotated[str, AfterValidator(_fits_a_header)]
if TYPE_CHECKING:
    Concurrency = int | AutoConcurrency
else:
    Concurrency = Annotated[int, Field(gt=0, le=MOST_CONCURRENCY), WrapValidator(_limit_or_auto)]
Count = Annotated[int, Field(gt=0)]
HttpAddress = Annotated[str, AfterValidator(_http)]
EndpointName = Annotated[str, AfterValidator(_plain)]
Options = Annotated[dict[str, str], BeforeValidator(_as_text)]
ProviderName = Annotated[str, AfterValidator(_known)]
Retries = Annotated[int, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
Temperature = Annotated[float, Field(ge=0, le=2)]
Weight = Annotated[float, Field(gt=0, le=MOST_WEIGHT)]


class EndpointFields(Checked):
    """What an endpoint says, wherever it comes from: a file, the environment, a program."""

    weight: Weight = 1.0
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    api_key: ApiKey | None = None
    max_concurrency: Concurrency = AutoConcurrency()
    reserve: Annotated[int, Field(ge=0, le=MOST_CONCURRENCY)] = 0
    priority: int = 0
    rpm: Count | None = None
    tpm: Count | None = None
    drop_params: bool = False
    stream_upstream: bool = False
    cache: bool = False
    price_class: Literal["standard", "flex", "batch", "cheapest"] = "standard"
    batch: bool = False
    queued_tokens: Count | None = None
