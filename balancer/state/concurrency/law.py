"""How many requests an endpoint is given at once: the control law of `max_concurrency: auto` (pure).

Perturb and observe (hill climbing on the measured throughput): a limit is kept for about a generation of answers, its throughput
follows from Little's law, and another limit is tried against it. More in flight is kept while it brings more throughput, fewer
while it costs none. The latency itself is not compared, as Vegas and gradient limits do (Netflix concurrency-limits): that of a
model server grows long before its throughput stops to. Refusals are answered as by TCP, with a multiplicative decrease and an
additive increase (Chiu and Jain 1989), and an engine that preempts requests for want of memory is given fewer.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

__all__ = ["FILLED", "LimitState", "LimitedBy", "Sample", "next_limit"]

FIRST_FACTOR = 2.0
"""How far the first tries go; the factor shrinks with each that fails, and grows with each that does not."""
LEAST_FACTOR = 1.25
FACTOR_BESIDE_CHATS = 1.12
"""How far tries go, at most, while people wait for answers of the same endpoint: a try beyond the knee slows theirs as well."""
GAIN_WORTH_MORE = 0.2
"""Elasticity (relative growth of the throughput by that of the limit) from which a higher limit is kept."""
GAIN_BESIDE_CHATS = 0.5
"""The same while people wait for answers of the endpoint: noise brings a small gain now and then, and theirs would be later."""
GAIN_WITHOUT_QUEUE = 0.1
"""The same where the engine says that few requests wait inside it, or none: it may have slots left."""
LOSS_WORTH_FEWER = 0.03
"""Share of the best throughput that may be lost by lower limits, all together: fewer in flight are a shorter latency."""
GAIN_WORTH_FEWER = 0.03
"""Share of the best throughput that a lower limit has to bring where few requests wait inside the engine: it shortens no queue
there, and noise brings a smaller gain now and then."""
LEAST_ANSWERS = 24
"""Answers that a measurement rests on, or one for each request in flight if that is more."""
SHARE_FOR_THE_FIRST = 0.7
"""Share of that which the first measurement of all rests on: at a start with far too many in flight, answers come late."""
TIMES_IN_DOUBT = 2
"""How many times the answers of a measurement a lower limit needs that seems to cost nothing, and to bring nothing."""
GAIN_WITHOUT_DOUBT = 1.1
"""Throughput by that before from which a lower limit is better without doubt."""
LEAST_ANSWERS_AGAINST = 6
"""Answers, or a quarter of those in flight, after which a try that has brought nothing is ended early."""
FILLED = 0.8
"""Share of the limit that has to be in flight for it to be what bounds the throughput."""
HOPELESS = 0.85
"""Share of the throughput before below which a lower limit is given up early."""
LESS_THAN_SHARE = 1.2
"""How much more than its share of the limit the throughput under a lower one must be, for the best limit to be in between."""
SETTLED_SHARE = 0.25
"""Share of the limit that has to be answered after a change of it before it is measured."""
CHANGED = 0.2
"""Relative change of the throughput under the same limit that starts the search again."""
NEAR = 1.5
"""How much higher than the good limit a try may be that can't halve the throughput by itself."""
AT_LEAST_OF_LAST = 0.8
"""Share of the last sample's throughput that an endpoint has at least, if some of the answers are from before it became
slower."""
SMOOTHING = 0.3
"""Weight of a new measurement of the throughput at rest."""
LONGEST_REST = 8
"""Generations of answers between two tries that have become hopeless."""
LONG_GENERATION = 1.5
"""Seconds from which a generation counts twice as rest: a knee that rises is found by a try only."""
REFUSED_BY_TRIES = 0.005
"""Share of the requests that tries may let be refused: the more a try has cost, the longer the next one waits."""
DOWN_EVERY = 8
"""Of the tries at rest, one in so many is a lower limit: a knee that falls shows in the throughput anyway."""
SETTLING = 0.5
"""Seconds that a lower limit has to take effect, before refusals lower it again."""
QUEUED_SHARE = 0.5
"""Share of the limit that waits inside the engine from which no higher one is tried. A short queue there costs nothing, and keeps
it busy."""
AFTER_PREEMPTION = 0.85
MEMORY_IN_USE = 0.95
"""Share of the engine's memory from which no higher limit is tried: it would preempt requests."""


class LimitedBy(StrEnum):
    """What has set a limit that finds itself."""

    START = "start"
    """Nothing is known yet."""
    THROUGHPUT = "throughput"
    """More in flight brings no more throughput."""
    REFUSALS = "refusals"
    """More in flight is refused (429 or 503)."""
    ENGINE = "engine"
    """More in flight waits inside the endpoint, or is preempted there."""
    BOUND = "bound"
    """The highest limit that is configured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an endpoint did in `seconds`, as all processes together saw it.

    `in_flight` is the mean over the time. `finished` counts the answers to requests that were sent under the present limit,
    `work` is their sum of work (tokens, or any other unit), `busy` the sum of the seconds that they took. `refused` counts those
    under this limit that were refused for being too many. `waiting` (requests) and `preempted` (since the last sample) are what
    the engine says, and `memory` the share of its memory in use, if it does. `chats` counts reports of processes that people wait
    for.
    """

    seconds: float
    in_flight: float = 0.0
    finished: int = 0
    work: float = 0.0
    busy: float = 0.0
    refused: int = 0
    waiting: float | None = None
    preempted: int = 0
    memory: float | None = None
    chats: int = 0

    def __add__(self, later: "Sample") -> "Sample":
        seconds = self.seconds + later.seconds
        in_flight = (self.in_flight * self.seconds + later.in_flight * later.seconds) / seconds if seconds else 0.0
        return Sample(
            seconds,
            in_flight,
            self.finished + later.finished,
            self.work + later.work,
            self.busy + later.busy,
            self.refused + later.refused,
            later.waiting,
            self.preempted + later.preempted,
            later.memory,
            later.chats,
        )


NOTHING = Sample(0.0)


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit and what the law knows. `version` counts the limits: samples of another one say nothing about this.

    `good` is the limit with the best throughput so far, `rate` that throughput (work per second), 0 if it has not been measured.
    `factor` and `up` are the next try, which waits for `rest` generations of answers; `refused_at` is the lowest limit that was
    refused.
    """

    limit: int
    version: int = 0
    good: int = 0
    rate: float = 0.0
    best: float = 0.0
    """The best throughput since the search began; 0 before the first of all is known."""
    factor: float = FIRST_FACTOR
    up: bool = False
    failed: int = 0
    """Tries in a row, by the least factor, that brought nothing."""
    below: float | None = None
    above: float | None = None
    """The throughput under the next lower and the next higher limit, by this factor or a larger one, as a share of that under the
    good one; None if it is not known, or worth another look."""
    rest: int = 0
    refused_at: int = 0
    deaf: float = 0.0
    """Seconds in which refusals are still those of the limit before: the others have to learn of the new one first."""
    beside_chats: bool = False
    """Whether people wait for answers of the endpoint."""
    queued: bool | None = None
    """Whether many requests wait inside the endpoint, or its memory is full; None if it does not say."""
    settled: bool = False
    """Whether those sent from now on measure the limit: not at once after a lower one, since they find a shorter queue."""
    limited_by: LimitedBy = LimitedBy.START
    filled: bool = False
    """Whether the limit bounds what is in flight, and not the work that there is."""
    seen: Sample = NOTHING

    @property
    def trying(self) -> bool:
        """Whether the limit is a try."""
        return self.rate > 0 and self.limit != self.good


def next_limit(state: LimitState, sample: Sample, most: int) -> LimitState:
    """Return the limit after another sample; it has another `version` if it is another one. `most` bounds it."""
    state = replace(state, limit=min(state.limit, most), good=min(state.good, most), beside_chats=sample.chats > 0)
    if sample.refused and state.deaf <= 0:
        return _after_refusals(state, sample)
    state = replace(state, deaf=max(0.0, state.deaf - sample.seconds))
    if state.beside_chats and state.trying and state.limit > math.ceil(FACTOR_BESIDE_CHATS * state.good):
        # It began before they came.
        return _at(state, state.good)
    if sample.preempted:
        return _after_preemption(state)
    if sample.waiting is not None:
        is_full = sample.memory is not None and sample.memory > MEMORY_IN_USE
        state = replace(state, queued=is_full or sample.waiting > QUEUED_SHARE * state.limit)
    seen = state.seen + sample
    state = replace(state, seen=seen, filled=seen.in_flight >= FILLED * state.limit)
    if state.filled and seen.busy:
        return _measured(state, state.limit * seen.work / seen.busy, sample, most)
    # What is measured with slots free says nothing about the limit.
    return replace(state, seen=NOTHING) if not state.filled and seen.finished else state


def _measured(state: LimitState, rate: float, last: Sample, most: int) -> LimitState:
    """Go on with a throughput that has been measured on what has been seen so far, with the `last` sample."""
    finished, some = state.seen.finished, state.seen.finished >= max(LEAST_ANSWERS_AGAINST, state.limit / 4)
    if state.trying and some and _is_hopeless(state, rate):
        return _search_lower(state, last, most) if _has_slowed(state, rate, last) else _back(state, rate)
    if not state.settled:
        if state.rate and some and _has_slowed(state, rate, last):
            return _search_lower(state, last, most)
        # At the start requests find the endpoint full once there is a first answer.
        enough = finished >= (SETTLED_SHARE * state.limit if state.best else 1)
        return replace(state, settled=True, version=state.version + 1, seen=NOTHING) if enough else state
    if state.rate and not state.trying and some and _changed(state, rate, 2 * CHANGED):
        return _search_lower(state, last, most) if _has_slowed(state, rate, last) else _search_again(state, rate)
    if finished < _enough(state) or (_is_doubtful(state, rate) and finished < TIMES_IN_DOUBT * _enough(state)):
        return state
    if not state.rate:
        return _begin_search(state, rate, most)
    return _compared(state, rate, most) if state.trying else _rested(state, rate, most)


def _begin_search(state: LimitState, rate: float, most: int) -> LimitState:
    """Begin the first try from a limit whose throughput is known now: upwards where a short queue inside the endpoint leaves room
    for more; noise can make a lower limit look free."""
    return _try(replace(state, good=state.limit, rate=rate, best=rate, up=state.up or state.queued is False), most)


def _compared(state: LimitState, rate: float, most: int) -> LimitState:
    """Keep a try, or go back to what was good before."""
    if state.limit > state.good:
        kept = math.log(rate / state.rate) / math.log(state.limit / state.good) >= _least_gain(state)
    else:
        kept = rate >= _least_kept(state)
    if not kept:
        return _back(state, rate)
    before = state.rate / rate
    below, above = (before, None) if state.limit > state.good else (None, before)
    known = replace(state, good=state.limit, rate=rate, best=max(rate, state.best), failed=0, below=below, above=above)
    limited_by = state.limited_by if state.up else LimitedBy.THROUGHPUT
    return _try(replace(known, factor=min(FIRST_FACTOR, state.factor**2), limited_by=limited_by), most)


def _enough(state: LimitState) -> float:
    """Return the answers that a measurement rests on."""
    times = 6 if state.beside_chats else 2 if state.factor <= LEAST_FACTOR else 1
    answers = max(LEAST_ANSWERS * times, 0.9 * state.limit)
    return answers if state.best else SHARE_FOR_THE_FIRST * answers


def _least_gain(state: LimitState) -> float:
    """Return the elasticity from which a higher limit is kept."""
    if state.beside_chats:
        return GAIN_BESIDE_CHATS
    return GAIN_WITHOUT_QUEUE if state.queued is False else GAIN_WORTH_MORE


def _least_kept(state: LimitState) -> float:
    """Return the throughput from which a lower limit is kept."""
    shortens_no_queue = state.queued is False and not state.beside_chats
    return state.best * (1 + GAIN_WORTH_FEWER if shortens_no_queue else 1 - LOSS_WORTH_FEWER)


def _is_doubtful(state: LimitState, rate: float) -> bool:
    """Whether a lower limit seems to cost nothing, and to bring nothing either: by chance, any does now and then."""
    return state.trying and state.limit < state.good and _least_kept(state) <= rate < GAIN_WITHOUT_DOUBT * state.rate


def _is_hopeless(state: LimitState, rate: float) -> bool:
    """Whether a try has brought so little that it needs no more answers."""
    return rate < (state.rate if state.limit > state.good else HOPELESS * min(state.rate, state.best))


def _at(state: LimitState, limit: int, anew: bool = False) -> LimitState:
    """Begin to measure a limit; with `anew`, one that has been in use."""
    changes = limit != state.limit
    # Under a lower limit none is sent before the requests in flight have come to it.
    return replace(state, limit=limit, version=state.version + (anew or changes), settled=limit <= state.limit, seen=NOTHING)


def _back(state: LimitState, rate: float) -> LimitState:
    """Return to the limit before a try that failed with this throughput, and say what is tried next.

    Tries go both ways, and then by a smaller factor where the best limit may be in between. At rest it is mostly higher limits:
    where they bring nothing, they cost little.
    """
    share = rate / state.rate
    if state.limit > state.good:
        known = replace(state, above=share, limited_by=LimitedBy.THROUGHPUT)
    else:
        known = replace(state, below=share)
    while known.below is not None and known.above is not None and known.factor > LEAST_FACTOR:
        known = _finer(known, known.below, known.above)
    if known.below is None or known.above is None:
        return _at(replace(known, up=known.above is None and (known.below is not None or state.limit < state.good)), state.good)
    failed = state.failed + 1
    rest = min(LONGEST_REST, 2 ** (failed - 1))
    return _at(replace(known, failed=failed, rest=rest, up=failed % DOWN_EVERY != 0), state.good)


def _finer(state: LimitState, below: float, above: float) -> LimitState:
    """Shrink the factor, and look again where the best limit may be: below if a lower limit has cost less than its share, above
    if a higher one has cost nothing."""
    return replace(
        state,
        factor=max(LEAST_FACTOR, math.sqrt(state.factor)),
        below=None if below > LESS_THAN_SHARE / state.factor else below,
        above=None if above > 1 - LOSS_WORTH_FEWER else above,
    )


def _rested(state: LimitState, rate: float, most: int) -> LimitState:
    """Go on after a generation of answers under the limit that is known as good."""
    if _changed(state, rate, CHANGED):
        return _search_again(state, rate)
    smoothed = state.rate + SMOOTHING * (rate - state.rate)
    rested = 2 if state.seen.seconds > LONG_GENERATION and not state.beside_chats else 1
    state = replace(state, rate=smoothed, best=smoothed, rest=state.rest - rested)
    return _try(state, most) if state.rest <= 0 else replace(state, seen=NOTHING)


def _changed(state: LimitState, rate: float, by: float) -> bool:
    return abs(rate / state.rate - 1) > by


def _search_again(state: LimitState, rate: float) -> LimitState:
    """Begin anew, since the endpoint is another one now. Some of the answers are from before, so its rate is measured first."""
    return _at(_knowing_nothing(replace(state, rate=0.0, up=rate > state.rate)), state.limit, anew=True)


def _has_slowed(state: LimitState, rate: float, last: Sample) -> bool:
    """Whether the throughput has fallen by more than the limit's change can account for, and the last sample tells how far. Fewer
    in flight take no longer each: a lower limit has its share of the throughput at least."""
    share = min(1.0, state.limit / state.good)
    tells = last.finished >= LEAST_ANSWERS_AGAINST and last.busy > 0
    return state.limit <= NEAR * state.good and rate < (1 - 2 * CHANGED) * share * state.rate and tells


def _search_lower(state: LimitState, last: Sample, most: int) -> LimitState:
    """Begin anew at an endpoint that has become much slower. To measure it under this limit would take long: its rate is that of
    the last sample, which has been too good if some of its answers were from before, and a lower limit is tried at once."""
    rate = state.limit * last.work / last.busy
    known = replace(state, good=min(state.limit, state.good), rate=rate, best=AT_LEAST_OF_LAST * rate, up=False)
    return _try(_knowing_nothing(known), most)


def _knowing_nothing(state: LimitState) -> LimitState:
    """Forget what tries have shown."""
    return replace(state, factor=FIRST_FACTOR, failed=0, below=None, above=None, rest=0)


def _try(state: LimitState, most: int) -> LimitState:
    """Begin the next try from the limit that is known as good."""
    good, refused_at = state.good, state.refused_at
    factor = min(state.factor, FACTOR_BESIDE_CHATS) if state.beside_chats else state.factor
    if state.up and good >= most:
        state = replace(state, up=False, above=0.0, limited_by=LimitedBy.BOUND)
    if not state.up and state.queued is False and not state.beside_chats:
        # Fewer would shorten no queue, and leave the engine idle for as long as they are tried.
        state = replace(state, up=True, below=0.0)
    if not state.up:
        lower = min(good - 1, round(good / factor))
        return _at(state, lower) if lower >= 1 else _at(replace(state, up=True, rest=2), good)
    if state.queued:
        return _at(replace(state, rest=2, limited_by=LimitedBy.ENGINE), good)
    higher = max(good + 1, round(good * factor))
    if refused_at > good:
        # Near what was refused it goes up by little.
        higher = min(higher, max(good + max(1, good // 16), round(0.9 * refused_at)))
    return _at(state, min(higher, most))


def _after_refusals(state: LimitState, sample: Sample) -> LimitState:
    """Return to what was good before a try; without one, halve."""
    tried = state.trying and state.good < state.limit
    limit = state.good if tried else max(1, state.limit // 2)
    cost = sample.refused / REFUSED_BY_TRIES / _enough(replace(state, limit=limit)) if tried else 0.0
    known = replace(state, good=limit, rate=state.rate if tried else 0.0, refused_at=state.limit, rest=math.ceil(cost), up=True)
    return _at(replace(known, below=0.0, factor=LEAST_FACTOR, deaf=SETTLING, limited_by=LimitedBy.REFUSALS), limit)


def _after_preemption(state: LimitState) -> LimitState:
    limit = max(1, math.floor(AFTER_PREEMPTION * state.limit))
    known = replace(state, good=limit, rate=0.0, below=0.0, factor=LEAST_FACTOR, up=True, rest=LONGEST_REST)
    return _at(replace(known, limited_by=LimitedBy.ENGINE), limit)
