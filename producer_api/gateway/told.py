"""What a streamed answer used, also when it never came to its end: then no endpoint says so, and it is guessed."""

from collections.abc import Mapping
from typing import Any

from balancer.endpoint import Endpoint
from balancer.outcome import NO_USAGE, Outcome, Usage
from balancer.pacing import CHARACTERS_PER_TOKEN
from balancer.pricing import cost_of
from balancer.results import ChatChunk, text_of
from balancer.trial import Trial

__all__ = ["Told"]


class Told:
    """Counts what has come of one stream. A reader that leaves before the end has had its tokens all the same."""

    def __init__(self, body: Mapping[str, Any], endpoint: Endpoint | None, first: ChatChunk, trial: Trial) -> None:
        """`endpoint` is the one that `first` came from, None if it was removed since; `trial` is told of the end later."""
        self._body = body
        self._endpoint = endpoint
        self._first = first
        self._trial = trial
        self._before = trial.outcome
        self._chunks = 0
        self._characters = 0
        self.take(first)

    def take(self, chunk: ChatChunk) -> None:
        """Count one more chunk."""
        self._chunks += 1
        self._characters += len(chunk.content)

    def outcome(self) -> Outcome:
        """Return the answer's outcome; a guess at its tokens where it broke off, or was left, before they were told."""
        outcome = self._trial.outcome
        if outcome is not None and outcome is not self._before and (outcome.failure is None or outcome.usage != NO_USAGE):
            return outcome
        model, usage = self._model(), self._guess()
        cost = cost_of(usage, self._endpoint, model) if self._endpoint else None
        return Outcome(self._first.endpoint, 0.0, usage=usage, model=model, cost=cost)

    def _guess(self) -> Usage:
        """Four characters a token; an endpoint sends at least one token in each chunk."""
        messages = self._body.get("messages") or ()
        prompt = sum(len(text_of(message.get("content")) or "") for message in messages)
        return Usage(prompt // CHARACTERS_PER_TOKEN, max(self._chunks, self._characters // CHARACTERS_PER_TOKEN))

    def _model(self) -> str:
        asked = self._trial.model
        known = self._endpoint.models if self._endpoint else {}
        if asked is not None:
            return known.get(asked, asked)
        return next(iter(known.values()), str(self._first.model or ""))
