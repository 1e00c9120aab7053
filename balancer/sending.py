"""Sends interactive requests: to the best endpoint, and elsewhere at once if that fails."""

import asyncio
import functools
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from balancer.fleet import Fleet
from balancer.health import Circuit
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome, Usage
from balancer.pacing import expected_tokens
from balancer.results import ChatChunk
from balancer.routing import Choice, Option, RetryPlan, choose, least_bad, pause_before, reserving
from balancer.strategy import BalancingStrategy
from balancer.trial import Trial

__all__ = ["ChatRequest", "Sender", "SendingRules", "asking"]

CHAT_PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """An OpenAI chat request, and on whose account it goes.

    `owner` is the id of the API key that it is counted for. `api_key` replaces the endpoint's own for this request alone, which
    then goes to none but the endpoints in `only`. `defaults` are fields that an endpoint gets if it takes them.
    """

    body: Mapping[str, Any]
    owner: str = ""
    api_key: str | None = None
    only: frozenset[str] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendingRules:
    """How endpoints are picked and attempts are made. Times are seconds.

    `queue_wait` bounds the wait for a slot (None: the wait is over when a slot is free). With `spill`, an endpoint without a free
    slot is passed over while another of the same rank has one; without, shares follow the strategy even then.
    """

    strategy: BalancingStrategy
    plan: RetryPlan
    timeout: float
    queue_wait: float | None = None
    spill: bool = False


class Sender:
    """Picks endpoints, waits for slots, sends, and moves on. Use on one event loop.

    `draining` and `suspects` are looked at each time: endpoints that get nothing more, and those that are not used before a check
    has passed. `on_outcome` is told of every attempt.
    """

    def __init__(
        self,
        fleet: Fleet,
        rules: SendingRules,
        draining: Collection[str] = (),
        suspects: Callable[[], Collection[str]] = tuple,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._fleet = fleet
        self._rules = rules
        self._draining = draining
        self._suspects = suspects
        self._on_outcome = on_outcome
        self._turns: dict[str, float] = {}
        self._rng = random.Random()

    def trial(self, request: ChatRequest) -> Trial:
        """Return the empty record of a request's attempts."""
        return Trial(self._rules.timeout, self._fleet.catalog.routes.models_for(request.body))

    async def complete(self, request: ChatRequest, trial: Trial) -> Outcome | None:
        """Return the answer; None when the request has been given up: `trial` says why."""
        fleet = self._fleet
        while (endpoint := await self._next_endpoint(request, trial)) is not None:
            body = self._asking(endpoint, request, trial)
            try:
                outcome = await fleet.send(endpoint, CHAT_PATH, body, request.owner, request.api_key)
            finally:
                fleet.slots.release(endpoint)
            self._take_in(outcome, request, trial)
            if outcome.failure is None:
                return outcome
        return None

    async def stream(self, request: ChatRequest, trial: Trial) -> AsyncGenerator[ChatChunk, None]:
        """Yield the answer's chunks. It falls back to other endpoints until the first chunk, never after; `trial.failure` is None
        after an answer that came to its end."""
        fleet = self._fleet
        taken = False
        while not taken and (endpoint := await self._next_endpoint(request, trial)) is not None:
            body = self._asking(endpoint, request, trial)
            end = functools.partial(self._take_in, request=request, trial=trial)
            try:
                async with aclosing(fleet.stream(endpoint, CHAT_PATH, body, end, request.owner, request.api_key)) as chunks:
                    async for chunk in chunks:
                        taken = True
                        yield chunk
            finally:
                fleet.slots.release(endpoint)
            if trial.failure is None:
                return

    def _asking(self, endpoint: str, request: ChatRequest, trial: Trial) -> Mapping[str, Any]:
        body = asking(request.body, trial.model)
        return self._fleet.with_defaults(endpoint, body, request.defaults) if request.defaults else body

    def _take_in(self, outcome: Outcome, request: ChatRequest, trial: Trial) -> None:
        trial.note(outcome)
        if not outcome.abandoned:
            self._on_outcome(outcome)
        # The budget is corrected by what the request really used, where that is known.
        if outcome.failure or outcome.abandoned or outcome.usage != NO_USAGE:
            self._settle(outcome.endpoint, request, outcome.usage)

    def _settle(self, endpoint: str, request: ChatRequest, usage: Usage) -> None:
        if self._fleet.pacer.is_paced(endpoint):
            self._fleet.pacer.settle(endpoint, _expected_tokens(request.body), usage)

    async def _next_endpoint(self, request: ChatRequest, trial: Trial) -> str | None:
        """Return the endpoint to try next, with a slot held; None when the request has been given up."""
        plan = self._rules.plan
        most = max(plan.attempts, len(trial.models) if plan.fallback else 1)
        while trial.failures < most and trial.may_go_on(plan.fallback):
            options = self._options(request, trial)
            if not trial.rounds:
                options = list(reserving(options, trial.tried, most - trial.failures))
            if not options:
                trial.failure = trial.failure or _nobody(trial)
                return None
            chosen = choose(self._rules.strategy, self._with_room(options), trial.tried, self._turns, self._rng)
            if chosen is None:
                pause = pause_before(plan, trial.rounds, options, trial.patience, self._rng)
                if pause is not None:
                    await asyncio.sleep(pause)
                    trial.next_round(pause)
                    continue
                if trial.attempts:
                    return None
                chosen = least_bad(options, self._turns)
            if await self._has_slot(chosen, request, trial):
                return chosen.name
            if trial.failure is not None and trial.failure.kind is FailureKind.FLEET_FULL:
                return None
        return None

    async def _has_slot(self, chosen: Choice, request: ChatRequest, trial: Trial) -> bool:
        self._turns = chosen.turns
        if not await self._slot(chosen.name, request, trial):
            return False
        trial.tried.add((chosen.name, chosen.model))
        trial.model = chosen.model
        return True

    def _options(self, request: ChatRequest, trial: Trial) -> list[Option]:
        fleet, suspects = self._fleet, self._suspects()
        # What waits inside an endpoint, from whomever, is load as well; only that strategy compares loads.
        queued_counts = self._rules.strategy is BalancingStrategy.LEAST_CONNECTIONS
        options = [
            Option(
                fleet.endpoints[name],
                replace(fleet.health[name], circuit=Circuit.OPEN) if name in suspects else fleet.health[name],
                fleet.slots.load(name) + (fleet.queued.get(name, 0) if queued_counts else 0),
                model,
                position,
            )
            for position, model in enumerate(trial.models)
            for name in fleet.endpoints
            if name not in self._draining and (name, model) not in trial.hopeless and fleet.catalog.serves(name, model)
        ]
        if request.only is not None:
            options = [option for option in options if option.endpoint.name in request.only]
        if not self._rules.plan.fallback and trial.attempts:
            options = [option for option in options if option.endpoint.name == trial.attempts[0].endpoint] or options
        return options

    def _with_room(self, options: list[Option]) -> list[Option]:
        if not self._rules.spill:
            return options
        ranks_with_room = {o.rank for o in options if o.load < o.endpoint.max_concurrency}
        return [o for o in options if o.load < o.endpoint.max_concurrency or o.rank not in ranks_with_room]

    async def _slot(self, endpoint: str, request: ChatRequest, trial: Trial) -> bool:
        """Wait for the endpoint's budget and a slot; False if it turned bad or went away, or the wait took too long."""
        fleet = self._fleet
        if not fleet.pacer.is_paced(endpoint) and fleet.slots.try_acquire(endpoint):
            return True
        paid = held = False
        began = time.monotonic()
        # All waits of a request together: one that turns bad sends its waiters away, to come back when nothing else is left.
        left = None if self._rules.queue_wait is None else max(0.0, self._rules.queue_wait - trial.queued)
        try:
            async with asyncio.timeout(left):
                if fleet.pacer.is_paced(endpoint):
                    await fleet.pacer.take(endpoint, _expected_tokens(request.body))
                    paid = True
                    if endpoint in self._draining:
                        return False
                held = endpoint in fleet.endpoints and await fleet.slots.acquire(endpoint)
                return held
        except TimeoutError:
            what = f"no endpoint had room for the request within {self._rules.queue_wait:g} s"
            trial.failure = Failure(FailureKind.FLEET_FULL, what, retry_after=self._rules.queue_wait)
            return False
        finally:
            trial.queued += time.monotonic() - began
            if paid and not held:
                self._settle(endpoint, request, NO_USAGE)


def asking(body: Mapping[str, Any], model: str | None) -> Mapping[str, Any]:
    """Return a request that asks for one model of its chain."""
    if body.get("model") == model and "models" not in body:
        return body
    asked = {name: value for name, value in body.items() if name not in ("model", "models")}
    return {"model": model, **asked} if model else asked


def _nobody(trial: Trial) -> Failure:
    asked = " or ".join(repr(model) for model in trial.models if model)
    what = f"serves the model {asked}" if asked else "is left: they were removed or are being drained"
    return Failure(FailureKind.UNAVAILABLE, f"no endpoint {what}")


def _expected_tokens(body: Mapping[str, Any]) -> int:
    return expected_tokens(body, len(str(body)))
