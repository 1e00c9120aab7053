"""Converts Converse's stream to OpenAI's chunks.

The stream is AWS' binary one (application/vnd.amazon.eventstream): a message has headers, among them the event's type, and JSON.
"""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson

from balancer.outcome import NO_USAGE, Failure, FailureKind, Usage
from balancer.providers.anthropic.answers import Malformed, member
from balancer.providers.base import StreamFault, Translation
from balancer.providers.bedrock.answers import finish_reason_of, kind_of_error, tier_of_answer, usage_of
from balancer.providers.shapes import chunk, tool_call

__all__ = ["ConverseStream", "event_messages"]

Chunks = Sequence[Mapping[str, Any]]
_FAULT_STATUS = 500
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


async def event_messages(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield each message as `{"EVENT": {...}}`. Raises StreamFault for what is no such stream."""
    from botocore.eventstream import EventStreamBuffer, ParserError

    buffer = EventStreamBuffer()
    async for data in chunks:
        buffer.add_data(data)
        try:
            for message in buffer:
                yield _named(message.headers, message.payload)
        except ParserError as exc:
            raise _broken(f"the stream can't be read: {exc}") from None
        if len(buffer._data) > MAX_MESSAGE_BYTES:
            raise _broken(f"a message of the stream is larger than {MAX_MESSAGE_BYTES} bytes")


def _named(headers: Mapping[str, Any], payload: bytes) -> bytes:
    name = headers.get(":event-type") or headers.get(":exception-type") or headers.get(":error-code") or "unknown"
    return b"{%b:%b}" % (orjson.dumps(str(name)), payload or b"{}")


class ConverseStream(Translation):
    """One streamed answer."""

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._calls: dict[int, int] = {}
        """The index of a block -> the number of its call."""
        self._usage: Usage = NO_USAGE
        self._finished = False

    def take(self, data: bytes) -> Chunks:
        try:
            [(name, event)] = orjson.loads(data).items()
        except (orjson.JSONDecodeError, ValueError, AttributeError):
            raise _broken("an event of the stream is not JSON") from None
        if name.lower().endswith(("exception", "error")):
            message = event.get("message") if isinstance(event, dict) else None
            kind = kind_of_error(name[:1].upper() + name[1:], str(message), _FAULT_STATUS)
            raise StreamFault(Failure(kind, f"an error in the stream: {str(message)[:300]}"))
        read = _READERS.get(name)
        if read is None:
            return ()
        try:
            return read(self, event)
        except Malformed as exc:
            raise _broken(f"a {name} event of the stream without `{exc}`") from None

    def used_so_far(self) -> Usage:
        return self._usage

    def _start(self, event: Mapping[str, Any]) -> Chunks:
        return (chunk(self._head, {"role": "assistant", "content": ""}),)

    def _block_start(self, event: Mapping[str, Any]) -> Chunks:
        start = member(event, "start", dict)
        if "toolUse" not in start:
            return ()
        use = member(start, "toolUse", dict, "start.")
        number = self._calls.setdefault(member(event, "contentBlockIndex", int), len(self._calls))
        call = tool_call(member(use, "toolUseId", str, "toolUse."), member(use, "name", str, "toolUse."), "")
        return (chunk(self._head, {"tool_calls": [{"index": number, **call}]}),)

    def _block_delta(self, event: Mapping[str, Any]) -> Chunks:
        delta = member(event, "delta", dict)
        if "text" in delta:
            return self._say("content", member(delta, "text", str, "delta."))
        if "toolUse" in delta:
            piece = member(member(delta, "toolUse", dict, "delta."), "input", str, "delta.toolUse.")
            number = self._calls.get(member(event, "contentBlockIndex", int))
            if number is None or not piece:
                return ()
            return (chunk(self._head, {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}),)
        return self._thought(member(delta, "reasoningContent", dict, "delta.")) if "reasoningContent" in delta else ()

    def _thought(self, thought: Mapping[str, Any]) -> Chunks:
        if isinstance(text := thought.get("text"), str):
            return self._say("reasoning_content", text)
        block: dict[str, Any] | None = None
        if isinstance(signature := thought.get("signature"), str):
            block = {"type": "thinking", "thinking": "", "signature": signature}
        elif isinstance(data := thought.get("redactedContent"), str):
            block = {"type": "redacted_thinking", "data": data}
        return (chunk(self._head, {"thinking_blocks": [block]}),) if block else ()

    def _stop(self, event: Mapping[str, Any]) -> Chunks:
        if self._finished:
            return ()
        self._finished = True
        return (chunk(self._head, {}, finish_reason_of(event.get("stopReason"), bool(self._calls))),)

    def _metadata(self, event: Mapping[str, Any]) -> Chunks:
        self._usage = usage_of(event.get("usage"))
        self.ended = True
        last = chunk(self._head, usage=self._usage)
        tier = tier_of_answer(event)
        return (last | {"service_tier": tier} if tier else last,)

    def _say(self, name: str, text: str) -> Chunks:
        return (chunk(self._head, {name: text}),) if text else ()


_READERS: Mapping[str, Callable[[ConverseStream, Mapping[str, Any]], Chunks]] = {
    "messageStart": ConverseStream._start,
    "contentBlockStart": ConverseStream._block_start,
    "contentBlockDelta": ConverseStream._block_delta,
    "messageStop": ConverseStream._stop,
    "metadata": ConverseStream._metadata,
}
"""Other events are passed over."""


def _broken(message: str) -> StreamFault:
    return StreamFault(Failure(FailureKind.INVALID_RESPONSE, message))
