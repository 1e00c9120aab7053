"""Prometheus metrics of today's usage (UTC) by endpoint.

They begin anew at midnight, which Prometheus takes for the reset of a counter, as it does a restart.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from balancer.state import keys
from balancer.state.redis_connection import AsyncRedis
from balancer.usage.rates import NANO
from balancer.usage.tally import LATENCY_BOUNDS, Row, Tally

__all__ = ["usage_metrics", "used_on"]

_TOKENS = ("input", "cached", "output", "reasoning")
_BOUNDS = (*map(str, LATENCY_BOUNDS), "+Inf")


async def used_on(redis: AsyncRedis, day: date) -> dict[str, Tally]:
    """Return a day's account by endpoint; what processes did in the last half second may not be in it."""
    stored: dict[bytes, bytes] = await redis.hgetall(keys.usage(day.isoformat()))
    tallies: dict[str, Tally] = {}
    for name, numbers in stored.items():
        tallies.setdefault(Row.unpacked(name).endpoint, Tally()).merge(Tally.unpacked(numbers))
    return tallies


def usage_metrics(tallies: Mapping[str, Tally]) -> Iterator[Metric]:
    """Write accounts by endpoint as metrics."""
    text = "Tokens used today (UTC); cached ones are part of the input, reasoning ones of the output."
    tokens = CounterMetricFamily("roadbalancer_endpoint_tokens", text, labels=["endpoint", "kind"])
    cost = CounterMetricFamily("roadbalancer_endpoint_cost_usd", "Cost of today (UTC), as far as known.", labels=["endpoint"])
    text = "Seconds that today's (UTC) answers took; of streams, until their first chunk."
    seconds = HistogramMetricFamily("roadbalancer_endpoint_answer_seconds", text, labels=["endpoint"])
    for endpoint, tally in sorted(tallies.items()):
        for kind in _TOKENS:
            tokens.add_metric([endpoint, kind], getattr(tally, kind))
        cost.add_metric([endpoint], tally.nano_cost / NANO)
        buckets = list(zip(_BOUNDS, accumulate(tally.buckets), strict=True))
        seconds.add_metric([endpoint], buckets, tally.latency_us / 1e6)
    yield from (tokens, cost, seconds)
