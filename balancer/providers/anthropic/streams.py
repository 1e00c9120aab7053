"""Converts Anthropic's stream events to OpenAI's chunks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from balancer.outcome import Failure, FailureKind, Usage
from balancer.providers.anthropic.answers import (
    Malformed,
    anthropic_failure_kind,
    anthropic_usage,
    citations_in,
    finish_reason_of,
    member,
)
from balancer.providers.base import StreamFault, Translation
from balancer.providers.failures import error_of
from balancer.providers.shapes import chunk, cited, tool_call

__all__ = ["MessageStream"]

Chunks = Sequence[Mapping[str, Any]]
_FAULT_STATUS = 500
"""What an error in a stream counts as if its type says nothing: the HTTP status was 200 already."""
_DELTAS = {"text_delta": ("text", "content"), "thinking_delta": ("thinking", "reasoning_content")}
"""Kind of a delta -> its field, and OpenAI's field for it."""


@dataclass(slots=True)
class _Tool:
    """A tool call that is being streamed. `number` is its place among the calls, `rest` its arguments if no piece comes."""

    number: int
    rest: Mapping[str, Any] | None


class _TextBlocks:
    """The blocks of text, which are one text in the chunks: what the passages of one that has citations are based on."""

    def __init__(self) -> None:
        self.length = 0
        """Characters so far."""
        self.citations: list[Mapping[str, Any]] = []
        """Those of the block under way."""
        self._start = 0
        self._is_apart = True
        """Whether the last block has ended in the chunks."""

    def begin(self, text: str, citations: list[Mapping[str, Any]]) -> bool:
        """Begin a block, and say whether the one before has to be ended."""
        apart, self._is_apart = not self._is_apart, False
        self._start, self.citations = self.length, list(citations)
        self.length += len(text)
        return apart

    def end(self) -> list[dict[str, Any]]:
        """Return the citations of a block that has ended, if it is one of text."""
        found, self.citations = [cited(each, self._start, self.length) for each in self.citations], []
        self._is_apart = self._is_apart or bool(found)
        return found


class MessageStream(Translation):
    """One streamed message. `model` stands in the chunks until the endpoint names its own."""

    def __init__(self, model: str) -> None:
        self._head = {"id": "", "created": int(time.time()), "model": model}
        self._usage: dict[str, Any] = {}
        self._tools: dict[int, _Tool] = {}
        """By the index of the content block."""
        self._text = _TextBlocks()
        self._finished = False
        self._usage_reported = False

    def take(self, data: bytes) -> Chunks:
        event = _event(data)
        kind = event.get("type")
        if event.get("error"):
            message, code = error_of(event, data)
            failed = anthropic_failure_kind(_FAULT_STATUS, event, message, code)
            raise StreamFault(Failure(failed, f"an error in the stream: {message}"))
        read = _READERS.get(kind) if isinstance(kind, str) else None
        if read is None:
            return ()
        try:
            return read(self, event)
        except Malformed as exc:
            raise _broken(f"a {kind} event of the stream without `{exc}`") from None

    def close(self) -> Chunks:
        """Return the usage if the end was reported but the last event never came."""
        return self._with_usage(()) if self._finished else ()

    def used_so_far(self) -> Usage:
        return anthropic_usage(self._usage)

    def _start(self, event: Mapping[str, Any]) -> Chunks:
        message = member(event, "message", dict)
        self._note_usage(message)
        self._head["id"] = member(message, "id", str, "message.")
        if isinstance(model := message.get("model"), str):
            self._head["model"] = model
        return (chunk(self._head, {"role": "assistant", "content": ""}),)

    def _block_start(self, event: Mapping[str, Any]) -> Chunks:
        block = member(event, "content_block", dict)
        kind = block.get("type")
        if kind == "tool_use":
            place = "content_block."
            given = block.get("input")
            tool = _Tool(len(self._tools), given if isinstance(given, dict) else {})
            self._tools[member(event, "index", int)] = tool
            call = tool_call(member(block, "id", str, place), member(block, "name", str, place), "")
            return (chunk(self._head, {"tool_calls": [{"index": tool.number, **call}]}),)
        if kind == "redacted_thinking":
            return self._thought({"type": kind, "data": member(block, "data", str, "content_block.")})
        # Text and thinking begin empty, as a rule.
        text = block.get(kind) if kind in ("text", "thinking") else None
        if not isinstance(text, str):
            return ()
        if kind == "thinking":
            return self._say("reasoning_content", text)
        apart = self._text.begin(text, citations_in(block))
        return (*((chunk(self._head, {"citations": []}),) if apart else ()), *self._say("content", text))

    def _block_delta(self, event: Mapping[str, Any]) -> Chunks:
        delta = member(event, "delta", dict)
        kind = member(delta, "type", str, "delta.")
        if kind in _DELTAS:
            name, ours = _DELTAS[kind]
            piece = member(delta, name, str, "delta.")
            self._text.length += len(piece) if kind == "text_delta" else 0
            return self._say(ours, piece)
        if kind == "citations_delta" and isinstance(citation := delta.get("citation"), dict) and citation:
            self._text.citations.append(citation)
        if kind == "signature_delta" and isinstance(signature := delta.get("signature"), str):
            return self._thought({"type": "thinking", "thinking": "", "signature": signature})
        if kind != "input_json_delta":
            return ()
        piece = member(delta, "partial_json", str, "delta.")
        tool = self._tools.get(member(event, "index", int))
        if tool is None or not piece:
            return ()
        tool.rest = None
        return self._arguments(tool, piece)

    def _block_stop(self, event: Mapping[str, Any]) -> Chunks:
        if citations := self._text.end():
            return (chunk(self._head, {"citations": citations}),)
        tool = self._tools.get(member(event, "index", int))
        if tool is None or tool.rest is None:
            return ()
        try:
            arguments = orjson.dumps(tool.rest).decode()
        except orjson.JSONEncodeError:  # what could be read is nested more deeply than what can be written
            raise Malformed("content_block.input") from None
        tool.rest = None
        return self._arguments(tool, arguments)

    def _message_delta(self, event: Mapping[str, Any]) -> Chunks:
        self._note_usage(event)
        stop_reason = member(event, "delta", dict).get("stop_reason")
        return () if stop_reason is None else self._finish(stop_reason)

    def _message_stop(self, event: Mapping[str, Any]) -> Chunks:
        self.ended = True
        return self._with_usage(self._finish(None))

    def _finish(self, stop_reason: Any) -> Chunks:
        if self._finished:
            return ()
        self._finished = True
        return (chunk(self._head, {}, finish_reason_of(stop_reason, bool(self._tools))),)

    def _with_usage(self, chunks: Chunks) -> Chunks:
        if self._usage_reported:
            return chunks
        self._usage_reported = True
        return (*chunks, chunk(self._head, usage=anthropic_usage(self._usage)))

    def _note_usage(self, owner: Mapping[str, Any]) -> None:
        """Remember the counts: each is a total, and null where it is not repeated."""
        usage = owner.get("usage")
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _say(self, name: str, text: str) -> Chunks:
        return (chunk(self._head, {name: text}),) if text else ()

    def _thought(self, block: Mapping[str, Any]) -> Chunks:
        """What ends a block of thinking: its signature, or redacted thinking as a whole."""
        return (chunk(self._head, {"thinking_blocks": [block]}),)

    def _arguments(self, tool: _Tool, piece: str) -> Chunks:
        return (chunk(self._head, {"tool_calls": [{"index": tool.number, "function": {"arguments": piece}}]}),)


_READERS: Mapping[str, Callable[[MessageStream, Mapping[str, Any]], Chunks]] = {
    "message_start": MessageStream._start,
    "content_block_start": MessageStream._block_start,
    "content_block_delta": MessageStream._block_delta,
    "content_block_stop": MessageStream._block_stop,
    "message_delta": MessageStream._message_delta,
    "message_stop": MessageStream._message_stop,
}
"""Other events are passed over: `ping`, and those that are still to be invented."""


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _broken("an event of the stream is not JSON") from None
    if not isinstance(event, dict):
        raise _broken("an event of the stream is no JSON object")
    return event


def _broken(message: str) -> StreamFault:
    return StreamFault(Failure(FailureKind.INVALID_RESPONSE, message))
