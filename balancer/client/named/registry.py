"""`LLMRegistry`: classes of clients by name, and one client of each."""

import threading
from collections.abc import Sequence
from typing import Any

from balancer.client.named.llm_client import ClaudeClient, GeminiClient, LaasClient, LLMClient, OpenAIClient
from balancer.errors import ConfigurationError

__all__ = ["LLMRegistry", "get_llm_client", "registry"]

PREFERRED = ("gemini", "openai", "claude")


class LLMRegistry:
    """Classes of clients by name. A class is any that takes settings by keyword; those of the providers are LLMClient's.

    Safe on any thread. A client that can't be made, because its key is missing, is None: the caller goes on with the next.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type[Any]] = {}
        self._clients: dict[str, Any] = {}
        self._lock = threading.RLock()

    def register(self, name: str, client_class: type[Any]) -> None:
        """Set the class of a name; a client that was made of another class is forgotten. Raises ConfigurationError."""
        if not name or not isinstance(client_class, type):
            raise ConfigurationError("registry", repr(name), "give a name and a class")
        with self._lock:
            self._classes[name] = client_class
            self._clients.pop(name, None)

    def create_client(self, name: str, **settings: Any) -> Any | None:
        """Make a client; None where its settings can't be used. Raises ConfigurationError for an unknown name."""
        with self._lock:
            client_class = self._classes.get(name)
        if client_class is None:
            raise ConfigurationError("registry", repr(name), f"there is no such client; there are {', '.join(self._classes)}")
        try:
            return client_class(**settings)
        except ConfigurationError:
            if settings:
                raise
            return None

    def get_client(self, name: str) -> Any | None:
        """Return the one client of a name, made at the first call; None where it can't be made."""
        with self._lock:
            if self._clients.get(name) is None:
                self._clients[name] = self.create_client(name)
            return self._clients[name]

    def get_client_with_fallback(self, preferred_order: Sequence[str] = PREFERRED) -> Any | None:
        """Return the first client of `preferred_order` that can be made; None if none can."""
        known = [name for name in preferred_order if name in self._classes]
        return next((client for name in known if (client := self.get_client(name)) is not None), None)

    def get_available_clients(self) -> list[str]:
        """Return the names whose clients can be made, in the order of their registration."""
        return [name for name in list(self._classes) if self.get_client(name) is not None]


registry = LLMRegistry()
"""The process's registry, with the providers' clients."""
for _class in (GeminiClient, OpenAIClient, ClaudeClient, LaasClient):
    registry.register(_class.name, _class)


def get_llm_client(name: str) -> LLMClient:
    """Return the process's client of a name. Raises ConfigurationError that says which variable is missing."""
    client = registry.get_client(name)
    return client if client is not None else _explained(name)


def _explained(name: str) -> LLMClient:
    """Make the client once more for its error."""
    client: LLMClient = registry._classes[name]()
    return client
