"""vLLM's OpenAI server (formats of 0.32)."""

import math
import re
from collections.abc import Mapping
from typing import Any

from balancer.endpoint import Endpoint
from balancer.providers.base import Call, Check, EngineLoad, RequestRefused
from balancer.providers.openai.adapter import OpenAIAdapter

__all__ = ["VLLMAdapter"]

_GUIDED = {
    "guided_json": "structured_outputs.json",
    "guided_regex": "structured_outputs.regex",
    "guided_choice": "structured_outputs.choice",
    "guided_grammar": "structured_outputs.grammar",
}
"""Fields that vLLM no longer knows since 0.12 -> what to use in their place."""
_WAITING = re.compile(rb"^vllm:num_requests_waiting(?:\{[^\n]*\})?[ \t]+([^\s]+)", re.MULTILINE)
"""One engine's queue in Prometheus' text. The whole name: others begin like it."""
_RUNNING = re.compile(rb"^vllm:num_requests_running(?:\{[^\n]*\})?[ \t]+([^\s]+)", re.MULTILINE)
_WORK = re.compile(
    rb"^vllm:(?:generation_tokens_total|prompt_tokens_total|iteration_tokens_total_count)(?:\{[^\n]*\})?[ \t]+([^\s]+)",
    re.MULTILINE,
)
"""Counters that rise while an engine works: with each token, each prompt, each step."""

_PREEMPTIONS = re.compile(rb"^vllm:num_preemptions_total(?:\{[^\n]*\})?[ \t]+([^\s]+)", re.MULTILINE)
_MEMORY = re.compile(rb"^vllm:(?:kv|gpu)_cache_usage_perc(?:\{[^\n]*\})?[ \t]+([^\s]+)", re.MULTILINE)
"""The share of an engine's key-value cache that requests hold, from 0 to 1; `gpu_` before vLLM 0.11."""


class VLLMAdapter(OpenAIAdapter):
    """OpenAI's wire format, with vLLM's own routes beside it.

    A check asks `/health` first: while the engine is dead, that answers 503, but `/v1/models` goes on answering 200, until the
    server notices and ends, or (with VLLM_KEEP_ALIVE_ON_ENGINE_DEATH) for ever. Then the models, and then, for the queue, the
    metrics. A server that has neither `/health` nor `/metrics`, because a proxy stands before it, is well all the same.

    Requests that vLLM would take but not follow are refused, so that another endpoint is tried.
    """

    is_shared = False
    alive_check = Check("/health", at_root=True)
    load_check = Check("/metrics", at_root=True)

    def batches(self, endpoint: Endpoint) -> None:
        """None: vLLM's server has no such API."""

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        for name, instead in _GUIDED.items():
            if body.get(name) is not None:
                reason = f"vLLM ignores this field, its answer would not be constrained; use `{instead}` or `response_format`"
                raise RequestRefused(name, reason)
        _refuse_files(body.get("messages"))
        return super().call(endpoint, path, body)

    def load(self, body: bytes) -> EngineLoad:
        """Read the server's metrics, all its engines together."""
        running, waiting, work, preemptions = (_sum_of(metric, body) for metric in (_RUNNING, _WAITING, _WORK, _PREEMPTIONS))
        shares = [share for share in map(_number, _MEMORY.findall(body)) if _is_count(share)]
        return EngineLoad(running, waiting, work, preemptions, max(shares, default=None))


def _refuse_files(messages: Any) -> None:
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if type(content) is list else ()):
            if isinstance(part, dict) and part.get("type") in ("file", "document"):
                param = f"messages[{index}].content[{place}].{part['type']}"
                raise RequestRefused(param, "vLLM takes no documents; send their pages as images, or their text")


def _sum_of(metric: "re.Pattern[bytes]", body: bytes) -> float | None:
    counts = [_number(text) for text in metric.findall(body)]
    return sum(counts) if counts and all(map(_is_count, counts)) else None


def _number(text: bytes) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_count(value: float) -> bool:
    return math.isfinite(value) and value >= 0
