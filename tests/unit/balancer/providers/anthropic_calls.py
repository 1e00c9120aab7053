"""Requests to Anthropic's Messages API, checked by a server as strict as the service."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused
from balancer.providers.anthropic.adapter import AnthropicAdapter
from tests.fake_providers.fake_anthropic import FAKE

__all__ = ["ADAPTER", "DATA", "HERE", "HI", "OLD", "TOOL", "calling", "part", "refused", "sent"]


ADAPTER = AnthropicAdapter()
HERE = FAKE.endpoint("http://h")
OLD = replace(HERE, options={"version": "2023-06-01"})
HI = [{"role": "user", "content": "Hi"}]
DATA = "JVBERi0xLjQK"
TOOL = {"type": "function", "function": {"name": "f"}}


def sent(endpoint: Endpoint = HERE, **fields: Any) -> dict[str, Any]:
    call = ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI, **fields})
    assert call.path == "/messages"
    FAKE.read_request("/v1/messages", ADAPTER.headers(endpoint), call.body)  # the service would take it
    return orjson.loads(call.body)


def refused(endpoint: Endpoint = HERE, **fields: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        ADAPTER.call(endpoint, "/chat/completions", {"model": "m", "messages": HI, **fields})
    return caught.value


def part(**members: Any) -> list[Any]:
    return [*HI, {"role": "assistant", "content": "?"}, {"role": "user", "content": [{"type": "text", "text": "x"}, members]}]


def calling(*calls: tuple[str, Any]) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": "f", "arguments": arguments}} for i, arguments in calls]
    return {"role": "assistant", "content": None, "tool_calls": made}
