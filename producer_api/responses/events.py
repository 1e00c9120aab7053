"""Converts the chunks of a streamed chat to the events of a streamed response (pure).

Reasoning and message items are closed when another item begins; function calls stay open until the end, since their arguments
may be interleaved.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from balancer.outcome import Usage
from balancer.results import ChatChunk, first_choice
from producer_api.http.errors import Problem
from producer_api.responses.objects import (
    call_item,
    message_item,
    new_id,
    reasoning_item,
    refusal_part,
    response_object,
    text_part,
)

__all__ = ["ResponseEvents"]

Event = Callable[..., bytes]
"""Encodes an event with a type and fields."""


class _Item:
    """An output item that is being streamed. `whole` is the item with everything added so far."""

    def __init__(self, event: Event, index: int, identifier: str) -> None:
        self._event = event
        self.index = index
        self.identifier = identifier

    @property
    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def begun(self) -> dict[str, Any]:
        raise NotImplementedError

    def added(self) -> Iterator[bytes]:
        yield self._event("response.output_item.added", output_index=self.index, item=self.begun)

    def done(self) -> Iterator[bytes]:
        yield from self._last()
        yield self._event("response.output_item.done", output_index=self.index, item=self.whole)

    def _last(self) -> Iterator[bytes]:
        return iter(())

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.identifier, "output_index": self.index}


class _Reasoning(_Item):
    def __init__(self, event: Event, index: int) -> None:
        super().__init__(event, index, new_id("rs"))
        self._texts: list[str] = []
        self.thinking: list[Any] = []
        """Signed thinking blocks. In a stream, the text of a block comes before its signature."""
        self._since_signature: list[str] = []

    @property
    def begun(self) -> dict[str, Any]:
        return reasoning_item(self.identifier, "", [], "in_progress")

    @property
    def whole(self) -> dict[str, Any]:
        return reasoning_item(self.identifier, "".join(self._texts), self.thinking)

    def add(self, text: str) -> Iterator[bytes]:
        self._texts.append(text)
        self._since_signature.append(text)
        yield self._event("response.reasoning_text.delta", **self._place, content_index=0, delta=text)

    def add_block(self, block: Mapping[str, Any]) -> None:
        if block.get("type") == "thinking":
            block = {**block, "thinking": block.get("thinking") or "".join(self._since_signature)}
            self._since_signature = []
        self.thinking.append(block)

    def _last(self) -> Iterator[bytes]:
        if self._texts:
            yield self._event("response.reasoning_text.done", **self._place, content_index=0, text="".join(self._texts))


class _Message(_Item):
    def __init__(self, event: Event, index: int) -> None:
        super().__init__(event, index, new_id("msg"))
        self._parts: dict[str, list[str]] = {}
        """Text pieces by the type of the part, `output_text` or `refusal`, in the order of the parts."""

    @property
    def begun(self) -> dict[str, Any]:
        return message_item([], "in_progress", self.identifier)

    @property
    def whole(self) -> dict[str, Any]:
        return message_item([_part(kind, "".join(texts)) for kind, texts in self._parts.items()], "completed", self.identifier)

    def add(self, kind: str, text: str) -> Iterator[bytes]:
        if kind not in self._parts:
            self._parts[kind] = []
            yield self._event("response.content_part.added", **self._of(kind), part=_part(kind, ""))
        if text:
            self._parts[kind].append(text)
            yield self._event(f"response.{kind}.delta", **self._of(kind), delta=text, **_more(kind))

    def _of(self, kind: str) -> dict[str, Any]:
        return {**self._place, "content_index": list(self._parts).index(kind)}

    def _last(self) -> Iterator[bytes]:
        for kind, texts in self._parts.items():
            whole = "".join(texts)
            field = "text" if kind == "output_text" else "refusal"
            yield self._event(f"response.{kind}.done", **self._of(kind), **{field: whole}, **_more(kind))
            yield self._event("response.content_part.done", **self._of(kind), part=_part(kind, whole))


class _Call(_Item):
    def __init__(self, event: Event, index: int, call_id: str, name: str) -> None:
        super().__init__(event, index, new_id("fc"))
        self._call_id = call_id
        self._name = name
        self._arguments: list[str] = []

    @property
    def begun(self) -> dict[str, Any]:
        return call_item(self.identifier, self._call_id, self._name, "", "in_progress")

    @property
    def whole(self) -> dict[str, Any]:
        return call_item(self.identifier, self._call_id, self._name, "".join(self._arguments))

    def add(self, arguments: str) -> Iterator[bytes]:
        self._arguments.append(arguments)
        yield self._event("response.function_call_arguments.delta", **self._place, delta=arguments)

    def _last(self) -> Iterator[bytes]:
        arguments = "".join(self._arguments)
        yield self._event("response.function_call_arguments.done", **self._place, name=self._name, arguments=arguments)


def _part(kind: str, text: str) -> dict[str, Any]:
    return text_part(text) if kind == "output_text" else refusal_part(text)


def _more(kind: str) -> dict[str, Any]:
    return {"logprobs": []} if kind == "output_text" else {}


class ResponseEvents:
    """The events of one response."""

    def __init__(self, request: Mapping[str, Any], identifier: str, model: str) -> None:
        self._request = request
        self._identifier = identifier
        self._model = model
        self._created_at = time.time()
        self._number = 0
        self._items: list[_Item] = []
        self._current: _Reasoning | _Message | None = None
        """The open reasoning or message item."""
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self.response: dict[str, Any] = {}
        """The final response object, after `ending`."""

    def opening(self) -> Iterator[bytes]:
        """Yield the first events."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event(kind, response=self._response("in_progress", []))

    def take(self, chunk: ChatChunk) -> Iterator[bytes]:
        """Yield the events of one chunk."""
        self._finish_reason = chunk.finish_reason or self._finish_reason
        delta = first_choice(chunk.raw).get("delta")
        if not isinstance(delta, dict):
            return
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            yield from self._reasoning()
            assert isinstance(self._current, _Reasoning)
            yield from self._current.add(reasoning)
        for block in delta.get("thinking_blocks") or ():
            yield from self._reasoning()
            assert isinstance(self._current, _Reasoning)
            self._current.add_block(block)
        for kind, text in (("output_text", delta.get("content")), ("refusal", delta.get("refusal"))):
            if isinstance(text, str) and text:
                yield from self._add_text(kind, text)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _reasoning(self) -> Iterator[bytes]:
        if not isinstance(self._current, _Reasoning):
            yield from self._begin(_Reasoning(self._event, len(self._items)))

    def _add_text(self, kind: str, text: str) -> Iterator[bytes]:
        if not isinstance(self._current, _Message):
            yield from self._begin(_Message(self._event, len(self._items)))
        assert isinstance(self._current, _Message)
        yield from self._current.add(kind, text)

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        number, function = int(call.get("index") or 0), call.get("function") or {}
        if number not in self._calls:
            yield from self._close_current()
            begun = _Call(self._event, len(self._items), call.get("id") or new_id("call"), function.get("name") or "")
            self._calls[number] = begun
            self._items.append(begun)
            yield from begun.added()
        if arguments := function.get("arguments"):
            yield from self._calls[number].add(arguments)

    def _begin(self, item: _Reasoning | _Message) -> Iterator[bytes]:
        yield from self._close_current()
        self._current = item
        self._items.append(item)
        yield from item.added()

    def _close_current(self) -> Iterator[bytes]:
        if self._current is not None:
            current, self._current = self._current, None
            yield from current.done()

    def ending(self, usage: Usage | None) -> Iterator[bytes]:
        """Yield the last events."""
        if not self._items or not any(isinstance(item, _Message | _Call) for item in self._items):
            yield from self._add_text("output_text", "")
        yield from self._close_current()
        for call in self._calls.values():
            yield from call.done()
        self.response = self._response("completed", [item.whole for item in self._items], usage)
        yield self._event(f"response.{self.response['status']}", response=self.response)

    def failing(self, problem: Problem) -> bytes:
        """Return the event that ends a failed response."""
        return self._event("error", code=problem.code, message=problem.message, param=problem.param)

    def _response(self, status: str, output: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        return response_object(
            self._request, self._identifier, self._created_at, self._model, status, output, usage, self._finish_reason
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
