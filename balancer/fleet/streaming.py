"""Reads one streamed answer."""

import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from balancer.errors import ConfigurationError
from balancer.http import (
    MAX_ANSWER_BYTES,
    AnswerTooLarge,
    ConnectTimeout,
    HttpClient,
    HttpError,
    HttpStream,
    PreparedRequest,
    RequestAborted,
    RequestTimeout,
    read_whole,
)
from balancer.outcome import NO_USAGE, Failure, FailureKind, Outcome, Usage, tier_of
from balancer.providers import Adapter, Call, StreamFault
from balancer.providers.openai.adapter import usage_of
from balancer.providers.sse import EventTooLarge
from balancer.results import ChatChunk, first_choice, text_of
from balancer.usage.token_guess import characters_in, guessed_usage

__all__ = ["StreamReading", "chunks_of", "failure_of"]


class StreamReading:
    """One streamed answer of one endpoint: iterate over `chunks`, then ask for the `outcome`."""

    def __init__(
        self,
        endpoint: str,
        adapter: Adapter,
        call: Call,
        body: Mapping[str, Any],
        timeout: float,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        on_sign: Callable[[], None] = lambda: None,
    ) -> None:
        """`call` is the chat request `body` in the endpoint's words; `timeout` is in seconds. `on_sign` is called whenever
        something has come from the endpoint."""
        self._endpoint = endpoint
        self._adapter = adapter
        self._call = call
        self._body = body
        self._translation = adapter.translation(call)
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._on_sign = on_sign
        self._started = time.perf_counter()
        self._latency = 0.0
        self._status: int | None = None
        self._request_id = ""
        self._tier = ""
        self._usage = NO_USAGE
        self._chunks = self._said = self._characters = 0
        self._finished = False
        self._failure: Failure | None = None

    def outcome(self) -> Outcome:
        """Return what came of it; `abandoned`, which says nothing about the endpoint, if the reader went away before the end."""
        abandoned = self._failure is None and not self._finished
        usage, guessed = self._used(abandoned)
        return Outcome(
            endpoint=self._endpoint,
            latency=self._latency or time.perf_counter() - self._started,
            status=self._status,
            request_id=self._request_id,
            usage=usage,
            failure=self._failure,
            model=self._call.model,
            guessed=guessed,
            abandoned=abandoned,
            tier=self._tier,
        )

    def _used(self, abandoned: bool) -> tuple[Usage, bool]:
        """Return the tokens, and whether they are guessed: of a stream that did not come to its end or tell them."""
        answered = self._chunks or (self._status == 200 and (abandoned or self._finished))
        if not answered or (self._finished and self._usage != NO_USAGE):
            return self._usage, False
        known = self._usage if self._usage != NO_USAGE else self._translation.used_so_far()
        return guessed_usage(self._body, known, self._said, self._characters), True

    async def chunks(self, client: HttpClient, request: PreparedRequest) -> AsyncGenerator[ChatChunk, None]:
        """Send the request and yield the answer's chunks. Trouble ends it; `outcome` says what it was."""
        try:
            async with (
                client.stream(request, self._call.body, self._timeout) as response,
                aclosing(self._read(response)) as chunks,
            ):
                async for chunk in chunks:
                    yield chunk
        except HttpError as exc:
            self._failure = replace(failure_of(exc), status=self._status)
            self._finished = False
        except EventTooLarge as exc:
            self._fail(FailureKind.INVALID_RESPONSE, str(exc))
        except StreamFault as exc:
            self._failure = replace(exc.failure, status=self._status)
            self._finished = False

    async def _read(self, response: HttpStream) -> AsyncGenerator[ChatChunk, None]:
        self._status = response.status
        self._request_id = response.headers.get("x-request-id") or response.headers.get("request-id", "")
        if response.status != 200 or self._adapter.stream_type not in response.headers.get("content-type", ""):
            for chunk in self._whole(response, await read_whole(response, self._max_answer_bytes)):
                yield chunk
            return
        async with aclosing(self._adapter.events(response)) as events:
            async for data in events:
                self._on_sign()
                for raw in self._translation.take(data):
                    self._latency = self._latency or time.perf_counter() - self._started
                    yield self._chunk(raw)
                if self._translation.ended:
                    break
        for raw in self._translation.close():
            yield self._chunk(raw)
        if not (self._finished or self._translation.ended):
            self._fail(FailureKind.CONNECTION, "the stream broke off")
        elif not self._latency:
            self._fail(FailureKind.INVALID_RESPONSE, "a stream without a chunk")
        self._finished = self._failure is None

    def _whole(self, response: HttpStream, body: bytes) -> list[ChatChunk]:
        """Take an answer that is no stream: a failure, or a whole completion, which is cut into chunks."""
        answer = self._adapter.answer(self._call, response.status, response.headers, body)
        self._failure, self._usage, self._tier = answer.failure, answer.usage, tier_of(answer.parsed)
        if answer.failure is not None:
            return []
        self._finished = True
        return [self._chunk(raw) for raw in chunks_of(answer.parsed or orjson.loads(answer.body))]

    def _chunk(self, raw: Mapping[str, Any]) -> ChatChunk:
        choice = first_choice(raw)
        delta = choice.get("delta")
        usage = usage_of(raw.get("usage")) if raw.get("usage") else None
        self._usage = usage or self._usage
        self._tier = tier_of(raw) or self._tier
        self._finished = self._finished or choice.get("finish_reason") is not None
        text = ""
        self._chunks += 1
        if isinstance(delta, dict):
            text = text_of(delta.get("content")) or ""
            characters = len(text) if delta.keys() <= _PLAIN else characters_in(delta)
            self._said += characters > 0
            self._characters += characters
        return ChatChunk(text, self._endpoint, choice.get("finish_reason"), raw.get("model"), usage, raw)

    def _fail(self, kind: FailureKind, message: str) -> None:
        self._failure = Failure(kind, message, self._status)
        self._finished = False


def failure_of(error: HttpError | ConfigurationError) -> Failure:
    """Return what a request without an answer failed with."""
    if isinstance(error, ConfigurationError):
        return Failure(FailureKind.AUTHENTICATION, str(error))
    if isinstance(error, RequestTimeout | ConnectTimeout):
        return Failure(FailureKind.TIMEOUT, str(error))
    for kind, found in ((AnswerTooLarge, FailureKind.ANSWER_TOO_LARGE), (RequestAborted, FailureKind.UNRESPONSIVE)):
        if isinstance(error, kind):
            return Failure(found, str(error))
    return Failure(FailureKind.CONNECTION, str(error))


_PLAIN = {"role", "content"}
PIECE = 64
"""Characters of a whole answer's text that go into one chunk at most."""
_PIECES = re.compile(rf"(?s).{{1,{PIECE}}}(?:(?<=\s)|\Z)|.{{{PIECE}}}")
"""A text in pieces that end with a space or the text, and where there is none, with the PIECEth character."""


def chunks_of(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Cut a whole OpenAI completion into the chunks that a stream of it would have had, its tokens in the last one."""
    head = {name: completion[name] for name in ("id", "created", "model", "system_fingerprint") if name in completion}
    head["object"] = "chat.completion.chunk"
    chunks: list[dict[str, Any]] = []

    def say(index: int, delta: Mapping[str, Any], finish_reason: str | None = None) -> None:
        chunks.append({**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]})

    for choice in completion.get("choices") or ():
        if not isinstance(choice, dict):
            continue
        found = choice.get("message")
        message: Mapping[str, Any] = found if isinstance(found, dict) else {}
        index = choice.get("index") or 0
        text = text_of(message.get("content")) or ""
        others = {name: value for name, value in message.items() if name not in ("role", "content", "tool_calls") and value}
        say(index, {"role": "assistant", "content": "", **others})
        for piece in _PIECES.findall(text):
            say(index, {"content": piece})
        for number, call in enumerate(message.get("tool_calls") or ()):
            say(index, {"tool_calls": [{"index": number, **call}]})
        say(index, {}, choice.get("finish_reason") or "stop")
    if completion.get("usage"):
        chunks.append({**head, "choices": [], "usage": completion["usage"]})
    return chunks
