"""Which fault a chat request meets, and what is then sent in place of the right answer."""

from __future__ import annotations

import random

from api_roadbalancer.mock.answers import (
    Answer,
    Ending,
    error,
    overloaded,
    rate_limited,
    right_answer,
    stream_answer,
)
from api_roadbalancer.mock.behaviour import Behaviour, Fault
from api_roadbalancer.mock.completions import CHAT, ChatRequest, completion, stream_events
from api_roadbalancer.mock.kinds import body_of
from api_roadbalancer.mock.wire import JSON, Request, error_body, response, response_head

__all__ = ["draw_fault", "faulty_answer"]

DRIP_PIECES = 20
RESET_GAP_S = 0.02  # lets what was written leave before the reset overtakes it

BROKEN_JSON = b'{"id": "chatcmpl-0", "choices": [oops'
PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>502 Bad Gateway</body></html>\n"


def draw_fault(behaviour: Behaviour, rng: random.Random) -> Fault:
    if behaviour.fault is not Fault.NONE and _happens(behaviour.fault_rate, rng):
        return behaviour.fault
    if behaviour.error_rate and _happens(behaviour.error_rate, rng):
        return Fault.ERROR_500
    return Fault.NONE


def faulty_answer(fault: Fault, behaviour: Behaviour, request: Request, chat: ChatRequest, created: int) -> Answer | None:
    """None: no answer for now, the request hangs."""
    if fault is Fault.HANG:
        return None
    if fault is Fault.CLOSE:
        return Answer(0, [], ending=Ending.CLOSE)
    if fault in _SPOILT:
        spoil = _spoilt_stream if chat.stream else _spoilt_body
        return spoil(fault, behaviour, request, chat, created)
    return _error_answer(fault, behaviour, request)


_SPOILT = {Fault.RESET_MID_BODY, Fault.BROKEN_JSON, Fault.TRUNCATED_JSON, Fault.SLOW_DRIP}


def _happens(share: float, rng: random.Random) -> bool:
    return share >= 1 or rng.random() < share


def _error_answer(fault: Fault, behaviour: Behaviour, request: Request) -> Answer:
    if fault is Fault.RATE_LIMITED_429:
        return rate_limited(request, behaviour.retry_after)
    if fault is Fault.OVERLOADED_503:
        return overloaded(request, behaviour.retry_after)
    if fault is Fault.HTML:
        return Answer(502, [response(request, 502, PROXY_PAGE, b"text/html")])
    return error(request, 500, error_body("The server had an error.", "server_error", "server_error"))


def _spoilt_body(fault: Fault, behaviour: Behaviour, request: Request, chat: ChatRequest, created: int) -> Answer:
    body = (completion if chat.kind == CHAT else body_of)(chat, request.number, created)
    half = len(body) // 2
    if fault is Fault.BROKEN_JSON:
        return Answer(200, [response(request, 200, BROKEN_JSON)])
    if fault is Fault.TRUNCATED_JSON:
        return Answer(200, [response(request, 200, body[:half])])
    head = response_head(request, 200, JSON, b"content-length: %d\r\n" % len(body))
    if fault is Fault.RESET_MID_BODY:
        return Answer(200, [head + body[:half]], RESET_GAP_S, Ending.RESET)
    size = -(-len(body) // DRIP_PIECES)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return Answer(200, [head, *pieces], behaviour.drip_gap, good=True)


def _spoilt_stream(fault: Fault, behaviour: Behaviour, request: Request, chat: ChatRequest, created: int) -> Answer:
    events = stream_events(chat, request.number, created)
    half = len(events) // 2
    gap = behaviour.latency_per_token
    if fault is Fault.SLOW_DRIP:
        return right_answer(request, chat, created, max(gap, behaviour.drip_gap))
    if fault is Fault.RESET_MID_BODY:
        pieces = stream_answer(request, events, gap).pieces[:half]
        return Answer(200, pieces, max(gap, RESET_GAP_S), Ending.RESET)
    if fault is Fault.BROKEN_JSON:
        events[half] = b"data: " + BROKEN_JSON + b"\n\n"
    else:
        events = [*events[:half], events[half][: len(events[half]) // 2] + b"\n\n"]
    return stream_answer(request, events, gap)._replace(good=False)
