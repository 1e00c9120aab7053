"""How the simulated server behaves: one frozen set of options, changeable at run time as a whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

__all__ = ["Behaviour", "BehaviourError", "Fault"]


class BehaviourError(ValueError):
    """An option that doesn't exist, or a value that it doesn't take. `option` names it."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(f"{option}: {reason}")
        self.option = option


class Fault(StrEnum):
    """What goes wrong with a chat request, in place of its answer."""

    NONE = "none"
    ERROR_500 = "500"
    RATE_LIMITED_429 = "429"
    OVERLOADED_503 = "503"
    HANG = "hang"  # never answered, until the client goes or the behaviour changes
    CLOSE = "close"  # the connection is closed without a byte
    RESET_MID_BODY = "reset_mid_body"  # half of the body, then a TCP reset
    BROKEN_JSON = "broken_json"  # 200 with a body that isn't JSON
    HTML = "html"  # 502 with a proxy's page
    TRUNCATED_JSON = "truncated_json"  # 200, complete by its framing, JSON cut in the middle
    SLOW_DRIP = "slow_drip"  # the right answer, in many small pieces


@dataclasses.dataclass(frozen=True, slots=True)
class Behaviour:
    """Every option of the simulated server. Times are in seconds; rates of requests are per minute."""

    latency: float = 0.0
    jitter: float = 0.0  # up to this much is added to the latency, uniformly
    slow_rate: float = 0.0  # share of chat requests that take longer
    slow_factor: float = 20.0  # so many times as long
    latency_per_token: float = 0.0  # between two chunks of a stream
    error_rate: float = 0.0  # share of chat requests answered 500
    rate_limit: float = 0.0  # requests per minute; 0: no limit
    max_concurrency: int = 0  # more at once are refused with 503; 0: no limit
    knee: int = 0  # more at once slow each other down: the throughput rises no further; 0: they don't
    decay: float = 0.0  # the throughput falls beyond the knee, by (in flight / knee) to the power of this
    cache_blocks: int = 0  # blocks of 256 characters of prompts that are kept, the last ones used; 0: none
    prefill: float = 0.0  # for each block of a prompt that is not kept
    models: tuple[str, ...] = ("simulated", "*")  # "*": any model is taken
    track_keys: bool = True  # count by request key
    fault: Fault = Fault.NONE
    fault_rate: float = 1.0  # share of chat requests that meet the fault
    retry_after: float | None = None  # Retry-After of the 429 and 503 faults; None: no header
    drip_gap: float = 0.1  # between two pieces of a slow drip
    answer_bytes: int = 0  # an answer's text is filled up to so many
    fail_custom: tuple[str, ...] = ()  # a request whose body contains one of these gets 400
    break_custom: tuple[str, ...] = ()  # or 500

    def __post_init__(self) -> None:
        for name in _PARSERS:
            object.__setattr__(self, name, _parsed(name, getattr(self, name)))

    def changed(self, changes: Mapping[str, object]) -> Behaviour:
        """A copy with some options changed. Raises BehaviourError; then nothing has changed."""
        for name in changes:
            if name not in _PARSERS:
                raise BehaviourError(name, f"no such option; there are {', '.join(_PARSERS)}")
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def as_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in _PARSERS}


def _parsed(name: str, value: object) -> object:
    try:
        return _PARSERS[name](value)
    except (TypeError, ValueError) as exc:
        raise BehaviourError(name, f"{exc}, not {value!r}") from exc


def _number(low: float, high: float, unit: str) -> Callable[[object], float]:
    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be {unit}")
        return float(value)

    return parse


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number, 0 or more")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes):
        raise ValueError("must be a list of non-empty strings")
    texts = tuple(value)
    if not all(isinstance(text, str) and text for text in texts):
        raise ValueError("must be a list of non-empty strings")
    return texts


def _fault(value: object) -> Fault:
    try:
        return Fault(str(value))
    except ValueError as exc:
        raise ValueError(f"must be one of {', '.join(Fault)}") from exc


_FOREVER_S = 1e9

_seconds = _number(0, _FOREVER_S, "a number of seconds, 0 or more")
_share = _number(0, 1, "a share between 0 and 1")


def _maybe_seconds(value: object) -> float | None:
    return None if value is None else _seconds(value)


_PARSERS: dict[str, Callable[[object], object]] = {
    "latency": _seconds,
    "jitter": _seconds,
    "slow_rate": _share,
    "slow_factor": _number(1, _FOREVER_S, "a number, 1 or more"),
    "latency_per_token": _seconds,
    "error_rate": _share,
    "rate_limit": _number(0, _FOREVER_S, "a number of requests per minute, 0 or more"),
    "max_concurrency": _count,
    "knee": _count,
    "decay": _number(0, 10, "a number from 0 to 10"),
    "cache_blocks": _count,
    "prefill": _seconds,
    "models": _texts,
    "track_keys": _flag,
    "fault": _fault,
    "fault_rate": _share,
    "retry_after": _maybe_seconds,
    "drip_gap": _seconds,
    "answer_bytes": _count,
    "fail_custom": _texts,
    "break_custom": _texts,
}
