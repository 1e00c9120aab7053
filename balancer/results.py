"""Results of a chat: a result or a stream of chunks, readable as mappings and as attributes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from balancer.errors import BalancerError
from balancer.outcome import Failure, Usage

__all__ = ["Attempt", "ChatChunk", "ChatFailed", "ChatResult"]


class _Fields(Mapping[str, Any]):
    """Makes a dataclass readable as a mapping of its fields."""

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (each.name for each in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(fields(self))  # type: ignore[arg-type]

    def __contains__(self, name: object) -> bool:
        return any(each == name for each in self)


class _DictFields(dict[str, Any]):
    """Makes a dataclass readable as a mapping of its fields, and fit for JSON: as a dict it holds plain dicts."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name) if name in self else default

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self)

    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError(f"{type(self).__name__} can't be changed")


def _plain(value: Usage | Failure | None) -> dict[str, Any] | None:
    return None if value is None else {name: getattr(value, name) for name in value.__slots__}


@dataclass(frozen=True, slots=True, eq=False)
class Attempt(_DictFields):
    """One attempt at one endpoint: what went wrong (None: nothing), and how long it took in seconds."""

    endpoint: str
    error: str | None
    time: float

    def __post_init__(self) -> None:
        dict.update(self, endpoint=self.endpoint, error=self.error, time=self.time)


@dataclass(frozen=True, slots=True, eq=False)
class ChatResult(_DictFields):
    """What came of a chat. `endpoint` is the name of the one that answered, None if none did; `latency` is the seconds from
    the call to its end, waiting included; `cost` in USD, None if the price is unknown; `raw` is the endpoint's own JSON."""

    success: bool
    content: str | None = None
    error: str | None = None
    endpoint: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    latency: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    raw: Mapping[str, Any] | None = None
    failure: Failure | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        dict.update(
            self, success=self.success, content=self.content, error=self.error, endpoint=self.endpoint, model=self.model,
            usage=_plain(self.usage), cost=self.cost, latency=self.latency, attempts=self.attempts, raw=self.raw,
            failure=_plain(self.failure),
        )  # fmt: skip

    @property
    def message(self) -> Mapping[str, Any]:
        """The first choice's message, with its tool calls if there are any; empty without an answer."""
        return first_message(self.raw)


@dataclass(frozen=True, slots=True, eq=False)
class ChatChunk(_Fields):
    """One piece of a streamed answer. `content` is the text that it adds; `raw` is the endpoint's own chunk."""

    content: str
    endpoint: str
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


class ChatFailed(BalancerError):
    """A streamed chat failed. `attempts` says where and why, `failure` is the last one's."""

    def __init__(self, message: str, attempts: tuple[Attempt, ...], failure: Failure | None = None) -> None:
        self.attempts = attempts
        self.failure = failure
        super().__init__(message)


def first_choice(raw: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the first choice of an answer or a chunk, empty if there is none."""
    choices = (raw or {}).get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def first_message(raw: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the message of the first choice, empty if there is none."""
    message = first_choice(raw).get("message")
    return message if isinstance(message, dict) else {}


def text_of(content: Any) -> str | None:
    """Return the text of a message's content, which may be a list of parts."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else None
