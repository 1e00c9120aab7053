"""Where requests are traced, if a process wants that: off, it costs one comparison for each request.

What makes spans is given to `use_tracing` (see api_roadbalancer.telemetry.otlp): the library needs no OpenTelemetry.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancer.endpoint import Endpoint
    from balancer.outcome import Outcome

__all__ = ["CallSpan", "RequestSpan", "Tracing", "job_span", "tracing", "use_tracing"]


class CallSpan(ABC):
    """A request to an endpoint, under way. `headers` go with it."""

    headers: Mapping[str, str]

    @abstractmethod
    def end(self, outcome: "Outcome | None") -> None:
        """Say what came of it; None if it was aborted."""


class RequestSpan(ABC):
    """A request of a client, under way."""

    @abstractmethod
    def answered(self, status: int, route: str) -> None:
        """Say how it was answered (0: not at all), and which route it took, such as `/v1/batches/{batch_id}`."""


class Tracing(ABC):
    """Makes spans; those that begin meanwhile in the same task, or in tasks of it, belong to the current one."""

    @abstractmethod
    def request(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[RequestSpan]:
        """Trace a client's request, as part of the client's own trace if `headers` name one."""

    @abstractmethod
    def shard(self, parent: str, job: str, endpoint: str, first: int, lines: int) -> AbstractContextManager[object]:
        """Trace the sending of lines of a job. `parent` is what `carried` returned when the job was made."""

    @abstractmethod
    def call(self, endpoint: "Endpoint", path: str, model: str) -> CallSpan:
        """Trace one request to an endpoint: `path` is OpenAI's, `model` the name that the endpoint is asked for."""

    @abstractmethod
    def carried(self) -> str:
        """Return the current span as a `traceparent` (https://www.w3.org/TR/trace-context/), "" if there is none."""


_tracing: Tracing | None = None


def tracing() -> Tracing | None:
    """Return what makes spans, None if nothing does."""
    return _tracing


def use_tracing(made: Tracing | None) -> None:
    """Trace with this from now on, or not at all."""
    global _tracing
    _tracing = made


def job_span(parent: str, job: str, endpoint: str, first: int, lines: int) -> AbstractContextManager[object]:
    """Trace the sending of lines of a job, if anything is traced."""
    return nullcontext() if _tracing is None else _tracing.shard(parent, job, endpoint, first, lines)
