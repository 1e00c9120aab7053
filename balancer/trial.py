"""What has been tried for one request, and the result that it makes."""

import time

import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome
from balancer.rates import NANO
from balancer.results import Attempt, ChatResult, first_message, text_of

__all__ = ["Trial"]


class Trial:
    """The attempts of one request, in their order. `failure` is the last one's, None after a success.

    `models` may answer it, best first. `tried` are the endpoints (each with a model) of this round, which ends when all have been
    tried, `rounds` how many have ended, `patience` the seconds that may still be spent on waiting between rounds. `hopeless` are
    those that would refuse it again in any round.
    """

    def __init__(self, patience: float, models: tuple[str | None, ...]) -> None:
        self._started_at = time.monotonic()
        self.patience = patience
        self.models = models
        self.model: str | None = None
        """The one that is being tried."""
        self.queued = 0.0
        """Seconds spent on waiting for slots."""
        self.rounds = 0
        self.tried: set[tuple[str, str | None]] = set()
        self.hopeless: set[tuple[str, str | None]] = set()
        self.failures = 0
        """Attempts that failed but might go well another time. A refusal only says who is not to be asked."""
        self.attempts: list[Attempt] = []
        self.failure: Failure | None = None
        self.outcome: Outcome | None = None
        """What the last attempt gave."""
        self.tokens = 0
        """What all attempts have used."""
        self.nano_cost: int | None = None
        """What that cost in nanodollars, without those whose price is not known; None if that is all of them."""

    def note(self, outcome: Outcome) -> None:
        """Take in what came of an attempt."""
        self.outcome = outcome
        self.failure = outcome.failure
        self.tokens += outcome.usage.prompt + outcome.usage.completion
        if outcome.cost is not None and (outcome.failure is None or outcome.usage != NO_USAGE):
            self.nano_cost = (self.nano_cost or 0) + round(outcome.cost * NANO)
        if outcome.failure is not None:
            self._learn(outcome.endpoint, outcome.failure)
        error = f"{outcome.failure.kind}: {outcome.failure.message}" if outcome.failure else None
        self.attempts.append(Attempt(outcome.endpoint, error, outcome.latency))

    def _learn(self, endpoint: str, failure: Failure) -> None:
        models = (self.model,) if failure.is_the_models else self.models
        concerned = {(endpoint, model) for model in models}
        self.tried |= concerned
        if failure.retryable:
            self.failures += 1
        else:
            self.hopeless |= concerned

    def next_round(self, pause: float) -> None:
        """Begin another round after a pause of that many seconds."""
        self.rounds += 1
        self.patience -= pause
        self.tried.clear()

    def may_go_on(self, fallback: bool) -> bool:
        """Whether another attempt makes sense; with `fallback`, at another endpoint or by another model."""
        if self.failure is None:
            return not self.attempts
        if self.failure.kind is FailureKind.CONTEXT_TOO_LONG and fallback:
            return self._go_on_with_other_models()
        return self.failure.worth_trying_elsewhere if fallback else self.failure.retryable

    def _go_on_with_other_models(self) -> bool:
        """Leave the model that was tried out, at whichever endpoint, and say whether there is another one."""
        self.models = tuple(model for model in self.models if model != self.model)
        return bool(self.models)

    def explanation(self) -> str:
        """Say what went wrong, attempt by attempt."""
        if not self.attempts:
            return self.failure.message if self.failure else "nothing was tried"
        tried = "; ".join(f"{attempt.endpoint}: {attempt.error}" for attempt in self.attempts)
        return f"all {len(self.attempts)} attempts failed: {tried}" if len(self.attempts) > 1 else tried

    def succeeded(self, outcome: Outcome) -> ChatResult:
        """Return the result of a request whose last attempt gave an answer."""
        raw = outcome.parsed if outcome.parsed is not None else orjson.loads(outcome.body)
        return ChatResult(
            success=True,
            content=text_of(first_message(raw).get("content")),
            endpoint=outcome.endpoint,
            model=raw.get("model"),
            usage=outcome.usage,
            cost=outcome.cost,
            latency=time.monotonic() - self._started_at,
            attempts=tuple(self.attempts),
            raw=raw,
        )

    def failed(self) -> ChatResult:
        """Return the result of a request that was given up."""
        return ChatResult(
            success=False,
            error=self.explanation(),
            latency=time.monotonic() - self._started_at,
            attempts=tuple(self.attempts),
            failure=self.failure,
        )
