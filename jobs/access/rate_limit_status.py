"""Interprets a key's rate limits: headers, or a refusal (pure)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.access.record import Limits
from jobs.access.refusals import Refusal, Refused
from jobs.access.spending import seconds_left

__all__ = ["RateLimitStatus", "duration", "rate_headers", "refusal_of"]

PARALLEL_RETRY = 1.0
"""Seconds after which to ask again when too many requests are under way: it is unknown when the next one ends."""


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """How a key stands. `verdict` is `ok` or the limit that is reached; `wait` and both `…_reset` are in seconds, the latter
    until all is there again."""

    verdict: str
    wait: float = 0.0
    requests_left: int = 0
    requests_reset: float = 0.0
    tokens_left: int = 0
    tokens_reset: float = 0.0

    @classmethod
    def from_answer(cls, answer: Sequence[Any]) -> "RateLimitStatus":
        """Read the answer of lua/admit.lua."""
        verdict, *numbers = answer
        wait, requests_left, requests_reset, tokens_left, tokens_reset = (int(number) for number in numbers)
        return cls(verdict.decode(), wait / 1000, requests_left, requests_reset / 1000, tokens_left, tokens_reset / 1000)


def rate_headers(limits: Limits, standing: RateLimitStatus) -> dict[str, str]:
    """Tell the rates as OpenAI does (platform.openai.com/docs/guides/rate-limits, "Rate limits in headers")."""
    headers: dict[str, str] = {}
    rates = (
        ("requests", limits.rpm, standing.requests_left, standing.requests_reset),
        ("tokens", limits.tpm, standing.tokens_left, standing.tokens_reset),
    )
    for kind, limit, left, reset in rates:
        if limit is not None:
            headers[f"x-ratelimit-limit-{kind}"] = str(limit)
            headers[f"x-ratelimit-remaining-{kind}"] = str(left)
            headers[f"x-ratelimit-reset-{kind}"] = duration(reset)
    return headers


def refusal_of(limits: Limits, standing: RateLimitStatus, now: float) -> Refused | None:
    """Return the error that refuses the request, None if it may go. `now` is in seconds since the epoch."""
    if standing.verdict == "ok":
        return None
    kind, message, wait = _reason(limits, standing, now)
    return Refused(kind, message, wait, rate_headers(limits, standing))


def _reason(limits: Limits, standing: RateLimitStatus, now: float) -> tuple[Refusal, str, float]:
    wait = standing.wait
    if standing.verdict == "requests":
        most = f"{limits.rpm} requests" if limits.rpm is not None else f"{limits.http_rpm} HTTP requests"
        return Refusal.REQUESTS, f"this key may send {most} per minute; try again in {duration(wait)}", wait
    if standing.verdict == "tokens":
        return Refusal.TOKENS, f"this key may use {limits.tpm} tokens per minute; try again in {duration(wait)}", wait
    if standing.verdict == "parallel":
        message = f"this key may have {limits.parallel} requests at once; wait until one of them has ended"
        return Refusal.PARALLEL, message, PARALLEL_RETRY
    if standing.verdict == "reserved":
        message = "what is left of this key's budget is reserved for its requests under way; wait until one of them has ended"
        return Refusal.PARALLEL, message, PARALLEL_RETRY
    day, month = seconds_left(now)
    if standing.verdict == "day":
        message = f"the budget of this key for today is spent ({limits.budget_day:g} USD); the day ends at 00:00 UTC"
        return Refusal.BUDGET, message, day
    message = f"the budget of this key for this month is spent ({limits.budget_month:g} USD); the month ends by UTC"
    return Refusal.BUDGET, message, month


def duration(seconds: float) -> str:
    """Write a duration as OpenAI's headers do: `0s`, `120ms`, `8.64s`, `6m0s`, `1h0m30s`. Rounded up to milliseconds."""
    milliseconds = math.ceil(round(max(0.0, seconds) * 1000, 3))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
