"""The outcome of one request to one endpoint: the answer or a classified failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from balancer.runtime.record import record

__all__ = ["NO_USAGE", "Failure", "FailureKind", "Outcome", "Usage", "tier_of"]


class FailureKind(StrEnum):
    """Why a request failed."""

    CONNECTION = "connection_error"
    """No answer: refused, reset, unknown host."""
    TIMEOUT = "request_timeout"
    """No whole answer in time, or the endpoint says that it ran out of time."""
    UNRESPONSIVE = "endpoint_unresponsive"
    """The endpoint was found to be dead while the request was in flight there, which says nothing about the request."""
    RATE_LIMIT = "rate_limit_exceeded"
    """Too many requests for now."""
    OVERLOADED = "server_overloaded"
    """The endpoint has more work than it can take (503, 529)."""
    SERVER = "server_error"
    """The endpoint failed inside (other 5xx, 409)."""
    INVALID_RESPONSE = "invalid_response"
    """An answer that isn't what the wire format says."""
    ANSWER_TOO_LARGE = "answer_too_large"
    """An answer with more bytes than `max_answer_bytes`; it would be as large again."""
    AUTHENTICATION = "authentication_error"
    """The endpoint refuses the key, or what the key may do (403)."""
    QUOTA = "insufficient_quota"
    """The account has no money left, or its limit for the day is spent."""
    MODEL_NOT_FOUND = "model_not_found"
    """The endpoint does not serve the model, or not with this key; another one may, and this one may serve another."""
    BAD_REQUEST = "invalid_request"
    """The request itself is refused; it would be refused again."""
    UNSUPPORTED = "unsupported_parameter"
    """The request asks for something that this endpoint's wire format can't say; another one's may."""
    CONTENT_FILTER = "content_filter"
    """The provider does not want to answer what the request holds."""
    CONTEXT_TOO_LONG = "context_length_exceeded"
    """The request is longer than the model can read."""
    CHECK_FAILED = "check_failed"
    """The answer does not pass the checks of its job."""
    FLEET_FULL = "fleet_full"
    """Every endpoint that serves the request is full for longer than it may wait."""
    UNAVAILABLE = "no_endpoint_available"
    """No endpoint that serves the request is healthy."""


_RETRYABLE = {
    FailureKind.CONNECTION,
    FailureKind.TIMEOUT,
    FailureKind.UNRESPONSIVE,
    FailureKind.RATE_LIMIT,
    FailureKind.OVERLOADED,
    FailureKind.SERVER,
    FailureKind.INVALID_RESPONSE,
    FailureKind.FLEET_FULL,
    FailureKind.UNAVAILABLE,
}
_ELSEWHERE_ONLY = {FailureKind.AUTHENTICATION, FailureKind.QUOTA, FailureKind.UNSUPPORTED, FailureKind.MODEL_NOT_FOUND}
_THE_MODELS = {
    FailureKind.OVERLOADED,
    FailureKind.RATE_LIMIT,
    FailureKind.CONTEXT_TOO_LONG,
    FailureKind.UNSUPPORTED,
    FailureKind.MODEL_NOT_FOUND,
}
_MAY_BE_THE_REQUESTS = {FailureKind.TIMEOUT, FailureKind.SERVER, FailureKind.INVALID_RESPONSE}
_COUNTS_AGAINST_ENDPOINT = {
    FailureKind.CONNECTION,
    FailureKind.TIMEOUT,
    FailureKind.UNRESPONSIVE,
    FailureKind.OVERLOADED,
    FailureKind.SERVER,
    FailureKind.INVALID_RESPONSE,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt. `retry_after` is seconds, as the endpoint asked; `message` holds no prompt and no key; `param` names the
    field of the request that it is about, `one_model` says that other models at the endpoint are not concerned."""

    kind: FailureKind
    message: str
    status: int | None = None
    retry_after: float | None = None
    param: str | None = None
    one_model: bool = False

    @property
    def public_message(self) -> str:
        """A message without the endpoint's own text, which may quote the request: its status instead."""
        return self.message if self.status is None else f"HTTP {self.status}"

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, here or elsewhere."""
        return self.kind in _RETRYABLE

    @property
    def counts_as_attempt(self) -> bool:
        """Whether it is one of the attempts that a request has."""
        return self.retryable and self.kind is not FailureKind.UNRESPONSIVE

    @property
    def worth_trying_elsewhere(self) -> bool:
        """Whether another endpoint may take what this one refused."""
        return self.kind in _RETRYABLE or self.kind in _ELSEWHERE_ONLY

    @property
    def is_the_models(self) -> bool:
        """Whether another model at the same endpoint may take what this one refused."""
        return self.one_model or self.kind in _THE_MODELS or (self.kind is FailureKind.AUTHENTICATION and self.status == 403)

    @property
    def takes_endpoint_out(self) -> bool:
        """Whether requests will keep failing there until the operator acts: a bad key, a spent quota."""
        return (self.kind is FailureKind.QUOTA and not self.one_model) or (
            self.kind is FailureKind.AUTHENTICATION and self.status != 403
        )

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later, if only after the operator has acted."""
        return self.retryable or self.kind is FailureKind.QUOTA or self.takes_endpoint_out

    @property
    def may_be_the_requests(self) -> bool:
        """Whether the request itself may be what the endpoint fails at, though it does not say so."""
        return self.kind in _MAY_BE_THE_REQUESTS

    @property
    def counts_against_endpoint(self) -> bool:
        """Whether the circuit breaker should know."""
        return self.kind in _COUNTS_AGAINST_ENDPOINT


@record(frozen=True, slots=True)
class Usage:
    """Tokens as the endpoint counted them. Those read from its cache (`cached`) and written to it are part of the prompt's,
    reasoning is part of the completion's, and what is written for an hour (`cache_write_hour`) is part of `cache_write`."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0
    cache_write_hour: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, name) + getattr(other, name) for name in Usage.__slots__))


NO_USAGE = Usage()


@record(frozen=True, slots=True)
class Outcome:
    """What one attempt gave: a JSON `body` as bytes, or a `failure`, perhaps with the endpoint's body.

    `latency` is in seconds, `cost` in USD (None: the price is not known), `model` the upstream name that was asked for.
    `parsed` is the body read, where an answer has been. `repeated`: the request had failed there before. `guessed`: the
    endpoint has not reported all of the usage. `abandoned`: the reader of a stream left before its end. `too_many`: it was
    refused since the endpoint takes no more at once, and the endpoint's limit has learned from it. `used_up_for`: seconds until
    the endpoint's rate limit leaves something again, where this answer was the last that it let pass. `tier` is the service tier
    that the answer names, "" if none.
    """

    endpoint: str
    latency: float
    status: int | None = None
    body: bytes = b""
    request_id: str = ""
    usage: Usage = NO_USAGE
    failure: Failure | None = None
    parsed: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    model: str = ""
    cost: float | None = None
    repeated: bool = False
    guessed: bool = False
    abandoned: bool = False
    too_many: bool = False
    used_up_for: float = 0.0
    tier: str = ""


def tier_of(raw: Mapping[str, Any] | None) -> str:
    """Return the service tier that an answer or a chunk in OpenAI's format names, "" if none."""
    tier = raw.get("service_tier") if raw else None
    return tier if isinstance(tier, str) else ""
