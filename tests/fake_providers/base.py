"""Requests and answers, whatever the wire format, and the base class of the fake providers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage

__all__ = [
    "Document",
    "Ending",
    "FakeProvider",
    "Image",
    "ReceivedRequest",
    "Refused",
    "Reply",
    "Script",
    "Text",
    "Thought",
    "ToolCall",
    "ToolResult",
    "Turn",
]  # fmt: skip

KEY = "key-of-a-test-0123456789"
"""The key that every fake provider wants."""


@dataclass(frozen=True)
class Text:
    """Words."""

    text: str


@dataclass(frozen=True)
class Thought:
    """A model's own thinking, given back to it; "" where it is hidden."""

    text: str


@dataclass(frozen=True)
class Image:
    """A picture: bytes in base64 with their type, or the address of one."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Document:
    """A PDF in base64."""

    media_type: str
    data: str


@dataclass(frozen=True)
class ToolCall:
    """A call that the model wants made. Ids are compared only where the format has them."""

    name: str
    arguments: Mapping[str, Any]
    id: str = "call_1"


@dataclass(frozen=True)
class ToolResult:
    """What a tool gave back; "Error: " stands before it where the tool failed. `id` names the call (or, in a format without ids,
    the tool)."""

    id: str
    text: str


@dataclass(frozen=True)
class Turn:
    """One message: `user` or `assistant`; results of tools are `tool` turns, whatever the format calls them."""

    role: str
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request, read. `system` is all system text joined by blank lines."""

    model: str
    turns: tuple[Turn, ...]
    system: str = ""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """Name -> JSON schema of the parameters."""
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or a tool's name; None where nothing is said."""
    schema: Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    stream: bool = False
    service_tier: str | None = None
    """Where the format has one; the answer is processed in it."""


class Ending(Enum):
    """Why an answer ends, and OpenAI's word for it."""

    STOP = "stop"
    LENGTH = "length"
    TOOLS = "tool_calls"
    REFUSAL = "content_filter"


@dataclass(frozen=True)
class Script:
    """The answer that a test wants given."""

    text: str = 'Grüße: "hello"\nworld'
    tool_calls: tuple[ToolCall, ...] = ()
    ending: Ending = Ending.STOP
    usage: Usage = field(default=Usage(prompt=12, completion=7, cached=4, reasoning=2))


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; with the status 0 it is lost on its way."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


class Refused(Exception):
    """The real service would refuse this request; `str()` says why."""


class FakeProvider(ABC):
    """One wire format, from the server's side."""

    provider: str
    """The adapter's name."""
    stream_type: str = "text/event-stream"
    streams: bool = True
    """Whether the service has a streaming answer of its own."""
    unsupported: Mapping[str, str] = {}
    """Scenario -> the field that the adapter's refusal must name, for what the service can't do at all."""
    counts: Sequence[str] = ("prompt", "completion", "cached", "reasoning")
    """The fields of Usage that this format tells."""

    def prepare(self) -> None:  # noqa: B027 (most have nothing to load)
        """Load what takes long, before a server starts."""

    @abstractmethod
    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        """Return an endpoint at a server's address (`http://127.0.0.1:1234`), with KEY and whatever the adapter needs."""

    @abstractmethod
    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        """Read a request (header names in lower case). Raises Refused for whatever the service would refuse."""

    @abstractmethod
    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        """Return a whole answer."""

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        """Yield a streamed answer in pieces: text and tool arguments in two at least."""
        raise NotImplementedError

    def unfinished_event(self, size: int) -> bytes:
        """Return the first bytes of an event of a stream, more than `size`."""
        return b"data: " + b"x" * size

    @abstractmethod
    def fail(self, kind: FailureKind) -> Reply | None:
        """Return what the service answers for a kind of failure; None for a kind that it does not know."""

    def refuse(self, reason: str) -> Reply:
        """Return the service's answer to a request that it refuses for its form."""
        reply = self.fail(FailureKind.BAD_REQUEST)
        assert reply is not None
        return Reply(reply.status, reply.body + b" " + reason.encode() if not reply.body.startswith(b"{") else reply.body)

    def get(self, path: str) -> Reply:
        """Answer a GET: the model list, a health check."""
        return Reply(404, b"{}")
