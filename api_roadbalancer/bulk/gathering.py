"""Requests that are awaited together become one job: `map`, and a stand-in for OpenAI's asynchronous client."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from api_roadbalancer.bulk.answers import read_lines_of
from api_roadbalancer.bulk.calls import Calls
from api_roadbalancer.bulk.run import BulkRequest
from balancer.errors import BalancerError
from jobs.intake.lines import CHAT_PATH

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

__all__ = ["AsyncOpenAI", "RequestFailed", "map_texts"]

SETTLE_SECONDS = 0.05
"""How long a request waits for company after the last one came."""
LONGEST_WAIT = 1.0
"""Seconds after the first one came."""
LINES_AT_ONCE = 1000


class RequestFailed(BalancerError):
    """A request that failed. `code` is the error's code, `status` the HTTP status of the endpoint's answer, if there was one."""

    def __init__(self, message: str, code: str, status: int | None = None) -> None:
        self.code = code
        self.status = status
        super().__init__(message)


class Gathering:
    """Sends chat requests: those that are awaited together are one job. Use on one event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]] = []
        self._changed = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None

    async def answer(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to one request, in OpenAI's shape. Raises RequestFailed, and what the job raises as a whole."""
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((body, future))
        self._changed.set()
        if self._collecting is None or self._collecting.done():
            self._collecting = asyncio.create_task(self._collect())
        return await future

    async def _collect(self) -> None:
        while self._waiting:
            await self._settled()
            taken, self._waiting = self._waiting, []
            wanted = [(body, future) for body, future in taken if not future.cancelled()]
            try:
                answers = await asyncio.to_thread(self._run, [body for body, _ in wanted])
            except Exception as exc:
                _fail(wanted, exc)
                continue
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as exc:
                _fail(wanted, RequestFailed(str(exc), "stopped"))
                raise
            for (_, future), answer in zip(wanted, answers, strict=True):
                if not future.done():
                    future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)

    async def _settled(self) -> None:
        """Wait until no more requests come."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST_WAIT
        while loop.time() < end:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), SETTLE_SECONDS)
                continue
            return

    def _run(self, bodies: Sequence[Mapping[str, Any]]) -> list["Mapping[str, Any] | RequestFailed"]:
        digest = hashlib.blake2b(digest_size=16)
        for body in bodies:
            digest.update(orjson.dumps(body, option=orjson.OPT_SORT_KEYS) + b"\n")

        async def chunks() -> AsyncIterator[bytes]:
            for first in range(0, len(bodies), LINES_AT_ONCE):
                yield b"".join(_line(number, bodies[number]) for number in range(first, min(len(bodies), first + LINES_AT_ONCE)))

        job, store = self._calls.ended(BulkRequest(f"gathered\n{digest.hexdigest()}", "gathered.jsonl", chunks))
        found: list[Mapping[str, Any] | RequestFailed] = [RequestFailed("not answered", "not_answered")] * len(bodies)
        for number, line in read_lines_of(job, store):
            found[number] = _answer_of(orjson.loads(line))
        return found


def _fail(wanted: Sequence[tuple[Mapping[str, Any], asyncio.Future[Mapping[str, Any]]]], error: Exception) -> None:
    for _, future in wanted:
        if not future.done():
            future.set_exception(error)


def _line(number: int, body: Mapping[str, Any]) -> bytes:
    return orjson.dumps({"custom_id": f"call-{number + 1}", "method": "POST", "url": CHAT_PATH, "body": body}) + b"\n"


def _answer_of(entry: Mapping[str, Any]) -> "Mapping[str, Any] | RequestFailed":
    response = entry.get("response") or {}
    body = response.get("body")
    error = entry.get("error") or (body.get("error") if isinstance(body, dict) else None)
    if error is None and isinstance(body, dict):
        return body
    details = error if isinstance(error, dict) else {"message": str(error)}
    code = details.get("code") or details.get("type")
    return RequestFailed(str(details.get("message")), str(code), response.get("status_code"))


async def map_texts(
    prompts: Sequence[str],
    *,
    system: str | None = None,
    fields: Mapping[str, Any] | None = None,
    endpoints: Sequence[str] = (),
    model: str | None = None,
    api_key_env: str | None = None,
    config: str | Path | None = None,
    progress: bool = False,
) -> list[str]:
    """Ask each prompt and return the answers' texts, in order. Calls that are awaited together, with the same endpoints, are one
    job, which a repeated call finds done. The options are those of `run`. Raises RequestFailed for the first prompt that failed.
    """
    gathering = _gathering(Calls.of(endpoints, model, api_key_env, config, progress))
    asked = {**(fields or {}), **({"model": model} if model is not None else {})}
    before = [{"role": "system", "content": system}] if system is not None else []
    bodies = [{**asked, "messages": [*before, {"role": "user", "content": prompt}]} for prompt in prompts]
    answers = await asyncio.gather(*map(gathering.answer, bodies))
    return [str(answer["choices"][0]["message"].get("content") or "") for answer in answers]


_gatherings: dict[tuple[asyncio.AbstractEventLoop, Calls], Gathering] = {}
"""Those of the loops that run."""


def _gathering(calls: Calls) -> Gathering:
    for loop, _ in list(_gatherings):
        if loop.is_closed():
            for known in [each for each in _gatherings if each[0] is loop]:
                del _gatherings[known]
    return _gatherings.setdefault((asyncio.get_running_loop(), calls), Gathering(calls))


class AsyncOpenAI:
    """Stands in for `openai.AsyncOpenAI` where many chats are gathered: those that are awaited together are one durable job.

    `base_url` is an endpoint, `api_key_env` the environment variable with its key; or `config` names a configuration file.
    Answers are the SDK's own objects, which needs the package `openai`. Nothing is streamed.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key_env: str | None = None,
        config: str | Path | None = None,
        progress: bool = False,
    ) -> None:
        endpoints = (base_url,) if base_url is not None else ()
        self._calls = Calls.of(endpoints, None, api_key_env, config, progress)
        self.chat = _Chat(self._calls)

    async def __aenter__(self) -> "AsyncOpenAI":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Do nothing: no connection outlives its job."""


class _Chat:
    def __init__(self, calls: Calls) -> None:
        self.completions = _Completions(calls)


class _Completions:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, **body: Any) -> "ChatCompletion":
        """Return the answer to a chat. Raises RequestFailed."""
        from openai.types.chat import ChatCompletion

        if body.get("stream"):
            raise RequestFailed("what is gathered into a job is not streamed", "unsupported_parameter")
        extra = body.pop("extra_body", None) or {}
        asked = {name: value for name, value in {**body, **extra}.items() if not _is_omitted(value)}
        answer = await _gathering(self._calls).answer(asked)
        return ChatCompletion.model_validate(answer)


def _is_omitted(value: Any) -> bool:
    return type(value).__name__ in ("NotGiven", "Omit")
