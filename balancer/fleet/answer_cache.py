"""Keeps whole answers of a process for a while, for requests that are repeated word for word. Opt-in."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import orjson

from balancer.configuration.values import CacheSettings
from balancer.fleet.model_request import ModelRequest
from balancer.outcome import Outcome

__all__ = ["MOST_BYTES", "AnswerCache", "key_of"]

MOST_BYTES = 256 * 1024
"""Of one answer; a larger one is not kept."""
_CHANGE_NOTHING = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key"})


class AnswerCache:
    """The answers that were used last. A caller gets only those that were made for the same API key."""

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[float, Outcome]] = OrderedDict()

    def get(self, key: bytes) -> Outcome | None:
        """Return an answer that is still good, as one that has cost nothing."""
        found = self._kept.get(key)
        if found is None:
            return None
        expires, outcome = found
        if self._clock() >= expires:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return outcome

    def put(self, key: bytes, outcome: Outcome) -> None:
        """Keep an answer; the one that was not used for longest gives way."""
        if outcome.failure is not None or len(outcome.body) > MOST_BYTES:
            return
        self._kept[key] = (self._clock() + self._settings.ttl, replace(outcome, cost=0.0, latency=0.0))
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.entries:
            self._kept.popitem(last=False)


def key_of(request: ModelRequest) -> bytes | None:
    """Return what a request is kept under: its caller, and all that may change its answer; None if it can't be written."""
    body = {name: value for name, value in request.body.items() if name not in _CHANGE_NOTHING}
    only = sorted(request.only) if request.only is not None else None
    try:
        content = orjson.dumps(
            [request.owner, request.api_key, only, request.path, body, dict(request.defaults)], option=orjson.OPT_SORT_KEYS
        )
    except orjson.JSONEncodeError:
        return None
    return hashlib.blake2b(content, digest_size=32).digest()
