"""What a wire format has to offer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, Usage

__all__ = ["Adapter", "Answer", "Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request, ready to send: the path below the endpoint's URL and the body."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """An endpoint's answer in OpenAI's shape: the JSON body as bytes, the tokens, and what failed if it did.

    `parsed` is the body read, if it holds an answer.
    """

    body: bytes
    usage: Usage
    failure: Failure | None = None
    parsed: Mapping[str, Any] | None = None


class Adapter(ABC):
    """Translates between OpenAI's chat format and an endpoint's own. Holds no state."""

    @abstractmethod
    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the headers that every request to `endpoint` carries, the key among them."""

    @abstractmethod
    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        """Translate a request. `path` is OpenAI's, such as `/chat/completions`."""

    @abstractmethod
    def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Translate an answer, whatever it is; never raises."""
