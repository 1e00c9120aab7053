"""Metrics of the account of usage."""

from datetime import date

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.tally import LATENCY_BOUNDS, Row, Tally
from producer_api.system.usage_metrics import usage_metrics, used_on


def tally(*outcomes: Outcome) -> Tally:
    made = Tally()
    for outcome in outcomes:
        made.add(outcome)
    return made


ANSWERED = Outcome("one", 0.25, 200, usage=Usage(prompt=10, completion=4, cached=3, reasoning=1), cost=0.5)
LONG = Outcome("one", 1000.0, 200, usage=Usage(prompt=1), cost=None)
FAILED = Outcome("one", 0.01, 500, failure=Failure(FailureKind.SERVER, "no"))


class Collected(Collector):
    def __init__(self, tallies: dict[str, Tally]) -> None:
        self._tallies = tallies

    def collect(self):  # type: ignore[no-untyped-def]
        return usage_metrics(self._tallies)


def samples(tallies: dict[str, Tally]) -> dict[tuple[str, ...], float]:
    """Return the values by name and labels, by way of the text that Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected(tallies))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_tokens_cost_and_time_are_exported_by_endpoint() -> None:
    found = samples({"one": tally(ANSWERED, LONG, FAILED), "two": Tally()})
    tokens = {labels[2]: value for labels, value in found.items() if labels[:2] == ("roadbalancer_endpoint_tokens_total", "one")}
    assert tokens == {"input": 11, "cached": 3, "output": 4, "reasoning": 1}
    assert found["roadbalancer_endpoint_cost_usd_total", "one"] == pytest.approx(0.5)
    assert found["roadbalancer_endpoint_answer_seconds_sum", "one"] == pytest.approx(1000.25)
    assert found["roadbalancer_endpoint_answer_seconds_count", "two"] == 0


def test_the_buckets_count_up() -> None:
    found = samples({"one": tally(ANSWERED, LONG, FAILED)})
    counts = [found["roadbalancer_endpoint_answer_seconds_bucket", "one", str(bound)] for bound in (*LATENCY_BOUNDS, "+Inf")]
    assert counts == sorted(counts)
    assert dict(zip((*LATENCY_BOUNDS, "more"), counts, strict=True)).items() >= {0.2: 0, 0.3: 1, 600.0: 1, "more": 2}.items()
    assert found["roadbalancer_endpoint_answer_seconds_count", "one"] == 2


async def test_models_and_keys_are_added_up(redis: AsyncRedis) -> None:
    rows = {Row("openai", model, "one", key): tally(ANSWERED) for model in "ab" for key in ("", "k")}
    rows[Row("vllm", "c", "two", "")] = tally(FAILED)
    day = date(2026, 1, 31)
    await redis.hset(keys.usage("2026-01-31"), mapping={row.packed(): made.packed() for row, made in rows.items()})
    found = {name: (made.requests, made.errors, made.input) for name, made in (await used_on(redis, day)).items()}
    assert found == {"one": (4, 0, 40), "two": (1, 1, 0)}
