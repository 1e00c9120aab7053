"""Requests to a server's API, and which server the running command is for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from balancer.configuration.environment import environment
from jobs.errors import InvalidRequest, JobError

__all__ = ["KEY_VARIABLE", "ServerAddress", "ServerRefused", "TeamServer", "choose_server", "chosen_server"]

KEY_VARIABLE = "ROADBALANCER_API_KEY"
"""The variable that has the key, where `--key-env` names no other."""
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds. What takes longer (the end of a job that is cancelled) is answered before it is done."""
LONGEST_MESSAGE = 2_000
"""Characters of an error that is not in the API's form."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a server is, and the key for it, "" for none."""

    url: str
    key: str = ""

    @classmethod
    def of(cls, url: str, key_env: str = "") -> "ServerAddress":
        """Make it of `--server` and `--key-env`. Raises InvalidRequest."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"--server must be the address of an API, such as https://llm.example.com (got {url!r})")
        known = environment()
        if key_env and not known.get(key_env):
            raise InvalidRequest(f"--key-env: the variable {key_env} is not set")
        return cls(url.rstrip("/").removesuffix("/v1"), known.get(key_env or KEY_VARIABLE, ""))


_chosen: ContextVar[ServerAddress | None] = ContextVar("server", default=None)


def choose_server(server: ServerAddress | None) -> None:
    """Have the running command work with a server instead of with this machine's configuration."""
    _chosen.set(server)


def chosen_server() -> ServerAddress | None:
    """Return the server that the running command is for, None for none."""
    return _chosen.get()


class ServerRefused(JobError):
    """A server did not do what was asked: `status` is its HTTP status, None if it was not reached."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class TeamServer:
    """An async context manager. Every method raises ServerRefused."""

    def __init__(self, address: ServerAddress) -> None:
        self.address = address
        headers = {"authorization": f"Bearer {address.key}"} if address.key else {}
        self._client = httpx.AsyncClient(base_url=address.url, headers=headers, timeout=TIMEOUT)

    async def __aenter__(self) -> "TeamServer":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, **query: Any) -> Any:
        """Return an object."""
        return await self.ask("GET", path, params={name: value for name, value in query.items() if value is not None})

    async def ask(self, method: str, path: str, **content: Any) -> Any:
        """Send a request, with httpx's `json`, `params`, `files` and `data`, and return the object that is answered."""
        try:
            answer = await self._client.request(method, path, **content)
        except httpx.HTTPError as exc:
            raise self._not_reached(exc) from exc
        self._check(answer, answer.content)
        try:
            return orjson.loads(answer.content) if answer.content else None
        except orjson.JSONDecodeError as exc:
            raise ServerRefused(f"{self.address.url} did not answer with JSON; it may be no Roadbalancer") from exc

    @asynccontextmanager
    async def stream(self, path: str, **query: Any) -> AsyncIterator[httpx.Response]:
        """Open an answer that is read as it comes."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            async with self._client.stream("GET", path, params=params) as answer:
                if answer.is_error:
                    self._check(answer, await answer.aread())
                yield answer
        except httpx.HTTPError as exc:
            raise self._not_reached(exc) from exc

    def _not_reached(self, error: httpx.HTTPError) -> ServerRefused:
        return ServerRefused(f"{self.address.url} can't be reached: {error or type(error).__name__}")

    def _check(self, answer: httpx.Response, content: bytes) -> None:
        if answer.is_success:
            return
        try:
            message = str(orjson.loads(content)["error"]["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            text = content.decode("utf-8", "replace").strip() or answer.reason_phrase
            message = f"HTTP {answer.status_code} of {self.address.url}, which may be no Roadbalancer: {text[:LONGEST_MESSAGE]}"
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            message += f" (the key is read from {KEY_VARIABLE}, or from the variable that --key-env names)"
        raise ServerRefused(message, answer.status_code)
