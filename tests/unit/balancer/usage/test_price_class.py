"""What requests ask for in each price class."""

import pytest

from balancer.endpoint import Endpoint
from balancer.usage.price_class import FLEX_TIMEOUT, PriceClass, asking_for, has_flex, timeout_of

STANDARD, FLEX, BATCH, CHEAPEST = PriceClass
OPENAI = Endpoint("https://api.openai.com/v1")
CONFIGURED = Endpoint("http://proxy/v1", price_class="flex")
VLLM = Endpoint("http://gpu1:8000/v1")
GEMINI = Endpoint("https://generativelanguage.googleapis.com/v1beta", provider="gemini")
BEDROCK = Endpoint("https://bedrock-runtime.us-east-1.amazonaws.com", provider="bedrock", price_class="flex")
CLAUDE = Endpoint("https://api.anthropic.com", provider="anthropic", price_class="flex")


@pytest.mark.parametrize(
    ("price_class", "endpoint", "body", "tier"),
    [
        # standard processing is what an endpoint does by itself, unless it is configured for another
        (STANDARD, OPENAI, {}, None),
        (STANDARD, CONFIGURED, {}, "default"),
        (FLEX, OPENAI, {}, "flex"),
        (FLEX, CONFIGURED, {}, "flex"),
        (FLEX, BEDROCK, {}, "flex"),
        # a request's own tier stays
        (FLEX, OPENAI, {"service_tier": "priority"}, "priority"),
        (STANDARD, CONFIGURED, {"service_tier": "flex"}, "flex"),
        # batches are for jobs; what is sent alone is processed as usual, or in flex
        (BATCH, OPENAI, {}, None),
        (CHEAPEST, OPENAI, {}, "flex"),
        # others have no such tier
        (FLEX, VLLM, {}, None),
        (FLEX, CLAUDE, {}, None),
    ],
)
def test_the_tier_that_is_asked_for(price_class: PriceClass, endpoint: Endpoint, body: dict[str, str], tier: str | None) -> None:
    assert asking_for(price_class, endpoint, body).get("service_tier") == tier


def test_who_has_flex_processing() -> None:
    found = [has_flex(endpoint) for endpoint in (OPENAI, CONFIGURED, GEMINI, BEDROCK, VLLM, CLAUDE)]
    assert found == [True, True, True, True, False, False]


def test_flex_processing_is_given_more_time() -> None:
    assert timeout_of({"service_tier": "flex"}, 600.0) == FLEX_TIMEOUT
    assert timeout_of({"service_tier": "flex"}, 3_600.0) == 3_600.0
    assert timeout_of({"service_tier": "default"}, 600.0) == timeout_of({}, 600.0) == 600.0
