"""Price classes: what processing a request asks for, at which price (pure).

`flex` is OpenAI's flex processing (platform.openai.com/docs/guides/flex-processing), Gemini's
(ai.google.dev/gemini-api/docs/flex-inference), and Bedrock's tier of that name: half the price, slower, and refused with 429
while there is no capacity for it. `batch` is for jobs alone: their lines are handed in as a provider's batches, at half the
price, and processed within a day. `cheapest` is `batch` for as long as a job's window leaves time for it, then `flex` where there
is any."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from balancer.endpoint import Endpoint

__all__ = ["FLEX_TIMEOUT", "PriceClass", "asking_for", "has_flex", "timeout_of"]

FLEX_TIMEOUT = 900.0
"""Seconds for a request in flex processing, which the service itself recommends."""
_WITH_TIERS = {"openai": "api.openai.com", "gemini": "generativelanguage.googleapis.com", "bedrock": ""}
"""Wire formats that have a field for it, and the host that has it without being configured for it."""
_TIERS = {"flex": "flex", "cheapest": "flex", "standard": "default"}
"""The class -> OpenAI's `service_tier`, where a single request has one."""


class PriceClass(StrEnum):
    """What a request may cost, and how long it may take."""

    STANDARD = "standard"
    FLEX = "flex"
    BATCH = "batch"
    CHEAPEST = "cheapest"

    @property
    def uses_batches(self) -> bool:
        """Whether lines of jobs are handed in as batches."""
        return self in (PriceClass.BATCH, PriceClass.CHEAPEST)


def has_flex(endpoint: Endpoint) -> bool:
    """Whether an endpoint has flex processing: OpenAI, Gemini, and others that are configured for it, where the format has it."""
    if endpoint.provider not in _WITH_TIERS:
        return False
    return endpoint.price_class == PriceClass.FLEX or urlsplit(endpoint.url).hostname == _WITH_TIERS[endpoint.provider]


def asking_for(price_class: PriceClass, endpoint: Endpoint, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request as its endpoint is to process it, alone. One that names a service tier itself keeps it."""
    if price_class == endpoint.price_class == PriceClass.STANDARD or "service_tier" in body or not has_flex(endpoint):
        return body
    tier = _TIERS.get(price_class)
    return body if tier is None else {**body, "service_tier": tier}


def timeout_of(body: Mapping[str, Any], timeout: float) -> float:
    """Return the seconds that a request may take, of which others may take `timeout`."""
    return max(timeout, FLEX_TIMEOUT) if body.get("service_tier") == _TIERS["flex"] else timeout
