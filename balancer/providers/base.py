"""The interface of a provider adapter."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from balancer.endpoint import Endpoint
from balancer.errors import BalancerError
from balancer.outcome import NO_USAGE, Failure, Usage
from balancer.providers.kinds import CHAT_PATH
from balancer.providers.sse import event_data
from balancer.runtime.record import record

if TYPE_CHECKING:
    from balancer.providers.batches import BatchApi

__all__ = ["Adapter", "Answer", "Call", "Check", "EngineLoad", "RequestRefused", "StreamFault", "Translation", "listed"]


class RequestRefused(BalancerError, ValueError):
    """A request can't be expressed in a wire format. `param` is the place in the request: `messages[2].content[0].image_url`."""

    def __init__(self, param: str, reason: str) -> None:
        self.param = param
        self.reason = reason
        super().__init__(f"{param}: {reason}")


class StreamFault(BalancerError):
    """A streamed answer went wrong on the endpoint's side."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


@record(frozen=True, slots=True)
class Call:
    """One HTTP request, ready to send: the path below the endpoint's URL and the body.

    `model` is the name that the endpoint is asked for, `stream` whether it will answer with a stream. `notes` is for the adapter
    itself: what it has to remember to read the answer.
    """

    path: str
    body: bytes
    model: str = ""
    stream: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)


@record(frozen=True, slots=True)
class Answer:
    """An endpoint's answer in OpenAI's shape: the JSON body as bytes on one line, the tokens, and what failed if it did.

    `parsed` is the body read, if it holds an answer.
    """

    body: bytes
    usage: Usage = NO_USAGE
    failure: Failure | None = None
    parsed: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """How an endpoint is asked whether it is well: `GET path`, below its URL (or, with `at_root`, below its host)."""

    path: str = "/models"
    at_root: bool = False


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What a server's own counters say: the requests that run and wait there, in numbers that only rise the work done and the
    requests that were put back for want of memory, and the share of that memory that is in use. None where it does not say."""

    running: float | None = None
    waiting: float | None = None
    work: float | None = None
    preemptions: float | None = None
    memory: float | None = None


class Translation(ABC):
    """Reads one streamed answer, event by event, and says it in OpenAI's chunks. One object for each stream."""

    ended: bool = False
    """Whether the endpoint has signalled the end of the stream."""

    @abstractmethod
    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        """Return the OpenAI chunks (perhaps none) that the data of one server-sent event make. Raises StreamFault.

        Tokens go into a chunk of their own, with empty `choices` and `usage`, as OpenAI does with `include_usage`.
        """

    def close(self) -> Sequence[Mapping[str, Any]]:
        """Return what is left to say when the connection has ended."""
        return ()

    def used_so_far(self) -> Usage:
        """Return the tokens that the endpoint has reported so far, even if they are not in a chunk yet."""
        return NO_USAGE


class Adapter(ABC):
    """Translates between OpenAI's chat format and an endpoint's own. Holds no state; one object serves all endpoints."""

    paths: Collection[str] = (CHAT_PATH,)
    """The kinds of requests that it can send (see `kinds`)."""
    check: Check | None = Check()
    """What an active check asks for; None: there is nothing that may be asked for free."""
    alive_check: Check | None = None
    """What it asks for before that, where a server can go on answering `check` though nothing behind it does."""
    load_check: Check | None = None
    """What it asks for after that: how much waits at the endpoint (see `load`)."""
    is_shared: bool = False
    """Whether servers of several providers speak it, and the answer to `check` may show whose one is (see `provider_of`)."""
    lists_models: bool = True
    """Whether `check` asks for the models; False where an endpoint's settings decide on the model."""
    default_url: str | None = None
    """Where endpoints of this format are if their settings don't say; None: they have to say."""
    hosts: tuple[str, ...] = ()
    """Hosts that speak this format: an endpoint there needs no `provider`."""
    options: Mapping[str, str] = MappingProxyType({})
    """The names that an endpoint's `options` may have, with what each means. Others are refused."""
    required_options: tuple[str, ...] = ()
    """Those of `options` that an endpoint can't do without."""
    stream_type: str = "event-stream"
    """What the content type of a streamed answer has in it."""

    @abstractmethod
    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the headers that every request to `endpoint` carries, the key among them."""

    def signature(self, endpoint: Endpoint, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of one POST alone, where requests are signed. Raises ConfigurationError without credentials."""
        return {}

    @abstractmethod
    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        """Translate a request. `path` is OpenAI's, such as `/chat/completions`; `body["stream"]` says how the answer is wanted.

        Raises RequestRefused for what the wire format, or this endpoint, can't do.
        """

    @abstractmethod
    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Translate an answer, whatever it is; never raises."""

    @abstractmethod
    def translation(self, call: Call) -> Translation:
        """Return a reader for the streamed answer to `call`."""

    def events(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Yield the data of each event of a streamed answer: server-sent events by default."""
        return event_data(chunks)

    def batches(self, endpoint: Endpoint) -> "BatchApi | None":
        """Return the provider's batches; None where it has none."""
        return None

    def takes(self, endpoint: Endpoint, field: str) -> bool:
        """Whether a request's optional `field` may be added for a caller who has not asked for it."""
        return True

    def models(self, body: bytes) -> list[str]:
        """Read the models that a check's answer lists, OpenAI's list by default; anything else has none."""
        ids = [entry.get("id") for entry in listed(body)]
        return [name.removeprefix("models/") for name in ids if isinstance(name, str)]

    def provider_of(self, body: bytes) -> str | None:
        """Read from a check's answer which provider's server it is, where it shows that: it is checked as one from then on."""
        return None

    def load(self, body: bytes) -> EngineLoad:
        """Read from the answer to `load_check` how much the endpoint has to do."""
        return EngineLoad()


def listed(body: bytes) -> list[dict[str, Any]]:
    """Return the entries of OpenAI's list of models; none of anything else."""
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    entries = listing.get("data") if isinstance(listing, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
