"""Sends the lines of one shard, each in a slot, with failover."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.fleet.sending import asking
from balancer.fleet.slot import Slot, SlotLapsed
from balancer.outcome import Failure, FailureKind, Outcome, Usage
from balancer.routing import Attempts, BalancingStrategy, FailoverRules, GiveUp, Go, Option, Target, Wait, decide
from balancer.runtime.record import record
from balancer.state.health import Circuit
from balancer.state.slots.fair_queue import Flow
from balancer.usage.meter import FROM_JOBS, HEDGES
from balancer.usage.price_class import PriceClass, asking_for
from jobs.checks.answer_checks import checks_of
from jobs.records import Job
from jobs.results.history import NO_HISTORY, LineHistory
from workers.shards.hedging import MOST_FOR_A_LINE, SLOT_PATIENCE, is_late
from workers.shards.run_context import RunContext
from workers.shards.shared_prefix import cache_marked

__all__ = ["Line", "LineSender", "Place", "answer_body"]

LETS_OTHERS_TRY = 1.0
"""Seconds, for a whole run, that lines which have failed before wait for others to try an endpoint out."""
SHORT_WAIT = 5.0
"""Seconds that a shard waits in place for an endpoint to be usable again; longer waits go through the queue."""
ATTEMPTS_A_PASS = 3
"""Failures after which a line waits; one for each model, if its chain is longer. A refused request is not counted."""
AFTER_TOO_MANY = 0.1
"""Seconds that a slot rests whose request was one too many: the next one would be too, until the limit is lowered everywhere."""
URGENT = 0.5
"""What a job that is short of time has before its equals in priority."""
LAST_OF_WINDOW = 1800.0
"""Seconds before a job's end (or a third of its window, if that is less) from which on its lines are processed as usual."""
PROBES = 2
"""Requests that each process sends at once to find out whether a failing endpoint is well again."""


@dataclass(slots=True)
class Line:
    """An input line. `number` is what the job counts it by, in an ordered job its place in the order; `input_number` is that of
    the input. `repeats` counts the other lines that get its result."""

    number: int
    input_number: int
    custom_id: str
    path: str
    body: Mapping[str, Any]
    attempts: Attempts
    """Those of this pass."""
    repeats: int = 0
    endpoint: str = ""
    """Where it is now."""
    sent_at: float = 0.0
    """Since when, by the loop's clock."""
    shares_prefix: bool = False
    """Whether it begins like one of its neighbours."""
    hedges: tuple[str, ...] = ()
    """The endpoints that it was sent to as well, without those that failed."""
    hedge_count: int = 0
    hedged_at: float = 0.0
    """When it was last, by the loop's clock."""
    history: LineHistory = NO_HISTORY
    """What was tried before this pass, and what has failed in it."""
    requests: int = 0
    """Those sent in this pass, with hedges."""
    rechecks: int = 0
    """How often its request was repeated because an answer failed the job's checks."""
    cache_key: str = ""
    spent: tuple[Outcome, ...] = ()
    """Its answers that did not pass."""

    def tried(self, passes: int = 0) -> LineHistory:
        """Return what has been tried by now, with the passes that it has failed."""
        usage, cost = self.rejected()
        return LineHistory(passes, self.history.attempts + self.requests, self.history.failed, usage, cost)

    def rejected(self, last: Outcome | None = None) -> tuple[Usage, float | None]:
        """Return the usage and the cost of all answers that did not pass, of earlier passes too; without `last`."""
        usage, cost = self.history.usage, self.history.cost
        for each in self.spent:
            if each is not last:
                usage += each.usage
                cost = None if cost is None or each.cost is None else cost + each.cost
        return usage, cost

    def with_spent(self, last: Outcome) -> Outcome:
        """Return the last outcome with the usage and the cost of all answers."""
        if not self.spent and self.history is NO_HISTORY:
            return last
        usage, cost = self.rejected(last)
        total = None if cost is None or last.cost is None else cost + last.cost
        return replace(last, usage=last.usage + usage, cost=total)

    def failed_at(self, endpoint: str, failure: Failure) -> None:
        """Keep a request that failed."""
        self.history = self.history.with_failed(endpoint, time.time(), failure.kind, failure.message)


@record(frozen=True, slots=True)
class Place:
    """Where a line is to be sent, with a slot held."""

    slot: Slot
    target: Target


class LineSender:
    """Finds places for lines and sends them. `home` is the endpoint that the shard was given to.

    `passes` counts, by line, the passes over the fleet that have failed before by what may be the line's own fault.
    """

    def __init__(self, home: str, job: Job, context: RunContext) -> None:
        self.passes: Mapping[int, int] = {}
        self._home = home
        self._owner = job.owner
        self._flow = Flow(job.id, job.priority + URGENT if job.is_urgent else job.priority)
        self._fleet = context.fleet
        self._hedging = context.hedging
        self._may_hedge = job.max_cost is None
        self._price_class = job.price_class
        self._only = frozenset(job.endpoints)
        window = job.expires_at - job.times.get("in_progress_at", job.created_at)
        self._flex_until = 0.0 if job.is_urgent else job.expires_at - min(LAST_OF_WINDOW, window / 3)
        self._checks = checks_of(job.checks) if job.checks else None
        self._most_rechecks = self._checks.attempts if self._checks is not None else 0
        self._rng = context.rng
        self._rules = FailoverRules(
            BalancingStrategy.LEAST_CONNECTIONS,
            ATTEMPTS_A_PASS,
            SHORT_WAIT,
            rounds=False,
            home=home,
            most_probes=PROBES,
        )
        self._stands_back_until = 0.0

    async def place_for(self, line: Line) -> Place | GiveUp:
        """Wait for a slot where the line is to be tried next."""
        while True:
            match decide(line.attempts, self._options(line.attempts), self._rules, {}, self._rng):
                case GiveUp() as decision:
                    return decision
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                case Go(target):
                    if self._lets_others_try(line, target):
                        await asyncio.sleep(LETS_OTHERS_TRY / 10)
                        continue
                    slot = await self._fleet.slot(target.endpoint, line.body, self._flow)
                    if slot is not None:
                        return Place(slot, target)

    def _options(self, attempts: Attempts) -> list[Option]:
        if not attempts.asked:
            # The shard's own endpoint goes first while it is well: a fleet of many costs a line no more than one of two.
            home = self._option(self._home, attempts.models[0], 0)
            if home is not None and home.health.circuit is Circuit.CLOSED and home.health.usable:
                return [home]
        return self._all_options(attempts.models)

    def _all_options(self, models: Sequence[str | None]) -> list[Option]:
        found = (self._option(name, model, n) for n, model in enumerate(models) for name in self._fleet.endpoints)
        return [option for option in found if option is not None]

    def _option(self, name: str, model: str | None, position: int) -> Option | None:
        fleet = self._fleet
        endpoint = fleet.endpoints.get(name)
        if endpoint is None or not self._may_be_sent_to(name) or not fleet.catalog.serves(name, model):
            return None
        limit = fleet.limits[name].value
        return Option(endpoint, fleet.health[name], fleet.slots.load(name), model, position, fleet.slots.in_use(name), limit)

    def _may_be_sent_to(self, endpoint: str) -> bool:
        return endpoint not in self._fleet.draining and (not self._only or endpoint in self._only)

    def _lets_others_try(self, line: Line, target: Target) -> bool:
        """Whether a line stands back for a while from an endpoint that is being tried out: one that has failed there before may
        fail by its own fault, and says less than a line that has not."""
        if line.number not in self.passes or line.attempts.asked or not self._fleet.is_tried_out(target.endpoint):
            return False
        now = asyncio.get_running_loop().time()
        self._stands_back_until = self._stands_back_until or now + LETS_OTHERS_TRY
        return now < self._stands_back_until

    async def send(self, line: Line, place: Place | GiveUp) -> Outcome | Failure:
        """Send a line; if that fails in a way that another endpoint or model may not, send it there at once.

        Returns the outcome that ends the line, an answer or a final failure; a failure if the line should wait for another
        attempt.
        """
        outcome: Outcome | None = None
        while isinstance(place, Place):
            try:
                outcome = await self._send_to(place, line)
            except SlotLapsed:
                place = await self.place_for(line)
                continue
            if outcome.failure is None:
                outcome = self.checked(line, outcome)
                if outcome.failure is None or line.rechecks >= self._most_rechecks:
                    return line.with_spent(outcome)
                line.rechecks += 1
                line.spent = (*line.spent, outcome)
                place = await self.place_for(line)
                continue
            line.attempts.failed(place.target, outcome.failure)
            line.failed_at(outcome.endpoint, outcome.failure)
            place = await self.place_for(line)
        return line.with_spent(outcome) if place.final and outcome is not None else place.failure

    async def _send_to(self, place: Place, line: Line) -> Outcome:
        """Send a line, and give its slot back."""
        endpoint = place.target.endpoint
        repeated = line.number in self.passes or line.attempts.has_asked(endpoint)
        line.endpoint, line.sent_at = endpoint, asyncio.get_running_loop().time()
        self._hedging.budget.requests += 1
        with place.slot:
            body = self._asking(line, place.target)
            outcome = await self._fleet.send(place.slot, line.path, body, self._owner, repeated=repeated, source=FROM_JOBS)
            line.requests += 1
            if outcome.failure is None:
                self._hedging.answered(endpoint, outcome.latency, outcome.usage.completion)
            if outcome.too_many:
                await asyncio.sleep(AFTER_TOO_MANY)
            return outcome

    def checked(self, line: Line, outcome: Outcome) -> Outcome:
        """Return an answer as it is if it passes the job's checks; else as a failure, and have the line ask differently."""
        fault = self._checks.fault(answer_body(outcome)) if self._checks is not None else None
        if self._checks is None or fault is None:
            return outcome
        failure = Failure(FailureKind.CHECK_FAILED, f"the answer does not pass {fault.check!r}: {fault.message}")
        line.failed_at(outcome.endpoint, failure)
        line.body = self._checks.asked_again(line.body, answer_body(outcome), fault)
        if self._checks.model:
            line.attempts = Attempts((self._checks.model,))
        return replace(outcome, failure=failure)

    def _asking(self, line: Line, target: Target) -> Mapping[str, Any]:
        endpoint = self._fleet.endpoints.get(target.endpoint)
        if endpoint is None:
            return asking(line.body, target.model)
        body = cache_marked(line.body) if line.shares_prefix and endpoint.cache else line.body
        if self._price_class or endpoint.price_class != PriceClass.STANDARD:
            body = asking_for(self._class_at(endpoint), endpoint, body)
        return asking(body, target.model)

    def _class_at(self, endpoint: Endpoint) -> PriceClass:
        """Return how a line is to be processed now: standard where what is left of the job's window is too short for another."""
        short_of_time = time.time() > self._flex_until
        wanted = PriceClass(self._price_class or endpoint.price_class)
        return PriceClass.STANDARD if short_of_time or wanted is PriceClass.BATCH else wanted

    def is_late(self, line: Line) -> bool:
        """Whether a line that is in flight takes longer than usual."""
        return bool(line.endpoint) and self._is_late(line.endpoint, line.sent_at)

    def needs_hedge(self, line: Line) -> bool:
        """Whether a late line is to be sent once more: it has no hedge yet, or one that is late itself."""
        if line.hedge_count >= MOST_FOR_A_LINE:
            return False
        return not line.hedges or self._is_late(line.hedges[-1], line.hedged_at)

    def _is_late(self, endpoint: str, sent_at: float) -> bool:
        usual = self._fleet.health[endpoint].latency if endpoint in self._fleet.endpoints else None
        return is_late(_seconds_since(sent_at), usual)

    def is_overdue(self, line: Line) -> bool:
        """Whether a line that is late takes longer than the longest answer that it allows."""
        most = line.body.get("max_completion_tokens") or line.body.get("max_tokens")
        return self._hedging.is_overdue(line.endpoint, _seconds_since(line.sent_at), most)

    def hedge_for(self, line: Line) -> Target | None:
        """Return where else to send a line that is late, if slots stand idle there and hedges are left to the process. It is
        another endpoint than the one that it was sent to last.

        `send_hedge` is to follow. Never under a cap on the job's cost.
        """
        if not self._may_hedge:
            return None
        last = line.hedges[-1] if line.hedges else line.endpoint
        others = [option for option in self._all_options(line.attempts.models) if option.endpoint.name != last]
        idle = [option for option in others if option.health.circuit is Circuit.CLOSED and option.has_room]
        decision = decide(Attempts(line.attempts.models), idle, self._rules, {}, self._rng) if idle else None
        return decision.target if isinstance(decision, Go) and self._hedging.budget.take(self.is_overdue(line)) else None

    async def send_hedge(self, line: Line, target: Target) -> Outcome | None:
        """Send a line to a second endpoint; None if there was no slot for it after all."""
        try:
            async with asyncio.timeout(SLOT_PATIENCE):
                slot = await self._fleet.slot(target.endpoint, line.body, self._flow)
        except TimeoutError:
            slot = None
        if slot is None:
            self._hedging.budget.give_back()
            return None
        with slot, suppress(SlotLapsed):
            line.requests += 1
            outcome = await self._fleet.send(slot, line.path, self._asking(line, target), self._owner, source=HEDGES)
            if outcome.failure is not None:
                line.failed_at(outcome.endpoint, outcome.failure)
            return outcome
        line.requests -= 1
        self._hedging.budget.give_back()
        return None

    def another_endpoint(self) -> str:
        """Return the endpoint whose queue the waiting lines go to: another usable one, if there is one."""
        others = [option for option in self._all_options((None,)) if option.endpoint.name != self._home]
        decision = decide(Attempts((None,)), others, self._rules, {}, self._rng)
        return decision.target.endpoint if isinstance(decision, Go) else self._home


def answer_body(outcome: Outcome) -> Mapping[str, Any] | None:
    """Return the body of an answer, read."""
    return outcome.parsed if outcome.parsed is not None else orjson.loads(outcome.body)


def _seconds_since(sent_at: float) -> float:
    return asyncio.get_running_loop().time() - sent_at
