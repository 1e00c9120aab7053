"""The result of a request to the fleet: the answer, or why there is none, and every attempt."""

import time

import orjson

from balancer.outcome import NO_USAGE, Failure, Outcome
from balancer.results import Attempt, ChatResult, first_message, text_of
from balancer.usage.rates import NANO

__all__ = ["Sent"]


class Sent:
    """A request's attempts in their order. `failure` is why it was given up, or the last attempt's; None after an answer.

    `outcome` is what the last attempt gave, `tokens` what all of them have used, and `nano_cost` what that cost in nanodollars,
    without those whose price is not known; None if that is all of them. `latency` is seconds, from the call on.
    """

    def __init__(self) -> None:
        self._started_at = time.monotonic()
        self.attempts: list[Attempt] = []
        self.failure: Failure | None = None
        self.outcome: Outcome | None = None
        self.tokens = 0
        self.nano_cost: int | None = None

    @classmethod
    def of_known(cls, outcome: Outcome) -> "Sent":
        """Return what has been answered before, without an attempt."""
        sent = cls()
        sent.outcome = outcome
        return sent

    @property
    def answer(self) -> Outcome | None:
        """The outcome that holds the answer; None if the request was given up."""
        return self.outcome if self.failure is None else None

    @property
    def latency(self) -> float:
        return time.monotonic() - self._started_at

    def add(self, outcome: Outcome) -> None:
        """Record what came of an attempt."""
        self.outcome = outcome
        self.failure = outcome.failure
        self.tokens += outcome.usage.prompt + outcome.usage.completion
        if outcome.cost is not None and (outcome.failure is None or outcome.usage != NO_USAGE):
            self.nano_cost = (self.nano_cost or 0) + round(outcome.cost * NANO)
        error = f"{outcome.failure.kind}: {outcome.failure.message}" if outcome.failure else None
        self.attempts.append(Attempt(outcome.endpoint, error, outcome.latency))

    def explanation(self) -> str:
        """Say what went wrong, attempt by attempt."""
        if not self.attempts:
            return self.failure.message if self.failure else "nothing was tried"
        tried = "; ".join(f"{attempt.endpoint}: {attempt.error}" for attempt in self.attempts)
        return f"all {len(self.attempts)} attempts failed: {tried}" if len(self.attempts) > 1 else tried

    def result(self) -> ChatResult:
        """Return it as what a chat gives back."""
        outcome = self.answer
        if outcome is None:
            return ChatResult(
                success=False,
                error=self.explanation(),
                latency=self.latency,
                attempts=tuple(self.attempts),
                failure=self.failure,
            )
        raw = outcome.parsed if outcome.parsed is not None else orjson.loads(outcome.body)
        return ChatResult(
            success=True,
            content=text_of(first_message(raw).get("content")),
            endpoint=outcome.endpoint,
            model=raw.get("model"),
            usage=outcome.usage,
            cost=outcome.cost,
            latency=self.latency,
            attempts=tuple(self.attempts),
            raw=raw,
        )
