"""Converts the chunks of a streamed chat to the events of a streamed message (pure).

The order is Anthropic's: `message_start`; for each content block its start, deltas and stop; `message_delta`, `message_stop`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from balancer.outcome import NO_USAGE, Usage
from balancer.results import ChatChunk, first_choice
from producer_api.http.errors import Problem
from producer_api.messages.answers import ending_of, new_message_id, plain_citation, usage_object
from producer_api.messages.errors import stream_error

__all__ = ["MessageEvents", "event"]


def event(kind: str, **fields: Any) -> bytes:
    """Return a server-sent event; its `type` repeats its name."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


class MessageEvents:
    """The events of one message. One content block is open at a time."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks = 0
        self._open: str | None = None
        """The kind of the open block, which is the last one; None if it has been closed."""
        self._tools: dict[int, int] = {}
        """Blocks of tool calls, by the calls' numbers."""
        self._choice: Mapping[str, Any] = {}
        """The last choice with a `finish_reason`."""
        self._refusal: list[str] = []

    def opening(self) -> Iterator[bytes]:
        message: dict[str, Any] = {
            "id": new_message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            # The tokens are known at the end, and stand in `message_delta`.
            "usage": usage_object(NO_USAGE),
        }
        yield event("message_start", message=message)
        yield event("ping")

    def take(self, chunk: ChatChunk) -> Iterator[bytes]:
        """Yield the events of one chunk."""
        choice = first_choice(chunk.raw)
        if choice.get("finish_reason") is not None:
            self._choice = choice
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            yield from self._say("thinking", "thinking_delta", "thinking", reasoning)
        for block in delta.get("thinking_blocks") or ():
            yield from self._thinking(block)
        if isinstance(text := delta.get("content"), str) and text:
            yield from self._say("text", "text_delta", "text", text)
        if isinstance(citations := delta.get("citations"), list):
            yield from self._cite(citations)
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusal.append(refusal)
        for call in delta.get("tool_calls") or ():
            yield from self._tool(call)

    def _say(self, kind: str, delta: str, name: str, text: str) -> Iterator[bytes]:
        if self._open != kind:
            empty = {"thinking": "", "signature": ""} if kind == "thinking" else {"text": "", "citations": None}
            yield from self._begin(kind, {"type": kind, **empty})
        yield self._delta(self._blocks - 1, {"type": delta, name: text})

    def _cite(self, citations: list[Any]) -> Iterator[bytes]:
        """Citations end the block of text that they belong to, as the end of a block without any does."""
        if self._open == "text":
            for each in citations:
                yield self._delta(self._blocks - 1, {"type": "citations_delta", "citation": plain_citation(each)})
            yield from self._end()

    def _thinking(self, block: Mapping[str, Any]) -> Iterator[bytes]:
        """A signature closes its thinking block; redacted thinking is a block of its own."""
        if block.get("type") == "redacted_thinking":
            yield from self._begin("redacted_thinking", block)
        elif block.get("signature"):
            if self._open != "thinking":
                yield from self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta(self._blocks - 1, {"type": "signature_delta", "signature": block["signature"]})
            yield from self._end()

    def _tool(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        number, function = int(call.get("index") or 0), call.get("function") or {}
        if number not in self._tools:
            name, identifier = function.get("name") or "", call.get("id") or f"toolu_{self._blocks}"
            yield from self._begin("tool_use", {"type": "tool_use", "id": identifier, "name": name, "input": {}})
            self._tools[number] = self._blocks - 1
        if arguments := function.get("arguments"):
            yield self._delta(self._tools[number], {"type": "input_json_delta", "partial_json": arguments})

    def _begin(self, kind: str, block: Mapping[str, Any]) -> Iterator[bytes]:
        yield from self._end()
        self._open = kind
        yield event("content_block_start", index=self._blocks, content_block=block)
        self._blocks += 1

    def _end(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield event("content_block_stop", index=self._blocks - 1)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> bytes:
        return event("content_block_delta", index=index, delta=delta)

    def ending(self, usage: Usage | None) -> Iterator[bytes]:
        """Yield the last events."""
        yield from self._end()
        delta = ending_of(self._choice, "".join(self._refusal))
        yield event("message_delta", delta=delta, usage=usage_object(usage or NO_USAGE))
        yield event("message_stop")

    def failing(self, problem: Problem) -> bytes:
        """Return the event that ends a failed message."""
        return event("error", error=stream_error(problem))
