"""One chat request, from its arrival to the last byte of its answer, counted at each step."""

from __future__ import annotations

import asyncio
import time

import orjson

from api_roadbalancer.mock.answers import Answer, Ending, error, overloaded, rate_limited, right_answer
from api_roadbalancer.mock.behaviour import Fault
from api_roadbalancer.mock.completions import (
    CHARACTERS_PER_TOKEN,
    CHAT,
    BadChatRequest,
    ChatRequest,
    filled_up,
    parse_chat,
    prompt_text,
    request_key,
)
from api_roadbalancer.mock.faults import draw_fault, faulty_answer
from api_roadbalancer.mock.kinds import parse
from api_roadbalancer.mock.prefix_cache import BLOCK
from api_roadbalancer.mock.simulation import Simulation
from api_roadbalancer.mock.wire import Channel, Request, error_body

__all__ = ["ChatExchange"]

REFUSED = "invalid_request_error"


class ChatExchange:
    """Runs on callbacks alone: without latency, `start` returns with the answer written."""

    __slots__ = (
        "_channel",
        "_chat",
        "_key",
        "_kind",
        "_loop",
        "_prompt",
        "_request",
        "_served",
        "_simulation",
        "_tally",
        "_timer",
    )

    def __init__(
        self, simulation: Simulation, loop: asyncio.AbstractEventLoop, request: Request, channel: Channel, kind: str = CHAT
    ) -> None:
        self._kind = kind
        self._simulation = simulation
        self._tally = simulation.tally
        self._loop = loop
        self._request = request
        self._channel = channel
        self._key: str | None = None
        self._chat: ChatRequest | None = None
        self._prompt = ""
        self._served = False  # counted as in flight
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        behaviour = self._simulation.behaviour
        payload = _parsed(self._request.body)
        if behaviour.track_keys:
            self._key = request_key(payload, self._request.body)
        self._tally.request(self._key)
        refusal = self._overload() or self._refusal(payload)
        if refusal is not None:
            self._play(refusal)
            return
        self._served = True
        self._simulation.in_flight.enter(self._key)
        delay = behaviour.latency
        if behaviour.jitter:
            delay += behaviour.jitter * self._simulation.rng.random()
        if behaviour.slow_rate and self._simulation.rng.random() < behaviour.slow_rate:
            delay *= behaviour.slow_factor
        if behaviour.cache_blocks and self._kind == CHAT:
            delay += self._prefill(payload)
        if behaviour.knee:
            delay *= max(1.0, self._simulation.in_flight.now / behaviour.knee) ** (1 + behaviour.decay)
        if delay:
            self._timer = self._loop.call_later(delay, self._answer)
        else:
            self._answer()

    def cancel(self) -> None:
        """The client has gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._simulation.hanging.pop(self._request.number, None)
        self._leave()
        self._tally.abort()

    def _prefill(self, payload: object) -> float:
        """The seconds that reading the prompt takes, but for what is kept of it. It is kept from the answer on."""
        assert self._chat is not None
        self._prompt = prompt_text(payload)
        hits = self._simulation.prefixes.hits(self._prompt)
        self._chat = self._chat._replace(cached_tokens=hits * BLOCK // CHARACTERS_PER_TOKEN)
        return self._simulation.behaviour.prefill * (len(self._prompt) // BLOCK - hits)

    def _overload(self) -> Answer | None:
        limit = self._simulation.behaviour.max_concurrency
        if limit and self._simulation.in_flight.now >= limit:
            return overloaded(self._request, self._simulation.behaviour.retry_after)
        wait = self._simulation.bucket.take()
        return rate_limited(self._request, wait) if wait else None

    def _refusal(self, payload: object) -> Answer | None:
        body = self._request.body
        behaviour = self._simulation.behaviour
        if any(text.encode() in body for text in behaviour.fail_custom):
            return error(self._request, 400, error_body("Refused on demand.", REFUSED, "fail_custom"))
        if any(text.encode() in body for text in behaviour.break_custom):
            return error(self._request, 500, error_body("Failed on demand.", "server_error", "break_custom"))
        if payload is _NOT_JSON:
            return error(self._request, 400, error_body("The body isn't valid JSON.", REFUSED))
        try:
            chat = parse_chat(payload) if self._kind == CHAT else parse(self._kind, payload)
        except BadChatRequest as exc:
            return error(self._request, 400, error_body(str(exc), REFUSED, param=exc.param))
        model = chat.model or self._simulation.default_model()
        if not self._simulation.serves(model):
            message = f"The model '{model}' does not exist."
            return error(self._request, 404, error_body(message, REFUSED, "model_not_found", "model"))
        self._chat = chat if chat.model else chat._replace(model=model)
        if (size := self._simulation.behaviour.answer_bytes) and self._kind == CHAT:
            self._chat = filled_up(self._chat, size)
        return None

    def _answer(self) -> None:
        """What goes wrong is drawn now, not on arrival: a server that breaks, breaks for all that wait."""
        assert self._chat is not None
        behaviour = self._simulation.behaviour
        if self._prompt:
            self._simulation.prefixes.store(self._prompt, behaviour.cache_blocks)
        fault = draw_fault(behaviour, self._simulation.rng)
        created = int(time.time())
        if fault is Fault.NONE:
            self._play(right_answer(self._request, self._chat, created, behaviour.latency_per_token))
            return
        answer = faulty_answer(fault, behaviour, self._request, self._chat, created)
        if answer is None:
            self._simulation.hanging[self._request.number] = self._answer
        else:
            self._play(answer)

    def _play(self, answer: Answer, place: int = 0) -> None:
        if not answer.gap:
            self._channel.write(answer.pieces[0] if len(answer.pieces) == 1 else b"".join(answer.pieces))
        elif place < len(answer.pieces):
            self._channel.write(answer.pieces[place])
            last = place + 1 == len(answer.pieces)
            if not last or answer.ending is Ending.RESET:
                self._timer = self._loop.call_later(answer.gap, self._play, answer, place + 1)
                return
        self._end(answer)

    def _end(self, answer: Answer) -> None:
        self._leave()
        self._tally.answer(self._key, answer.status, answer.good)
        if answer.ending is Ending.KEEP:
            self._channel.finish()
        elif answer.ending is Ending.CLOSE:
            self._channel.close()
        else:
            self._channel.reset()

    def _leave(self) -> None:
        if self._served:
            self._served = False
            self._simulation.in_flight.leave(self._key)


_NOT_JSON = object()


def _parsed(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NOT_JSON
