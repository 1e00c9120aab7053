"""Converts the chunks of a streamed chat to the events of a streamed response (pure).

Reasoning and messages end where another item begins; calls of tools stay open until the end, since their pieces may alternate.
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
"""Makes an event of its type and its fields."""


class _Item:
    """An item of the output that is being streamed. `done` ends it; `whole` is what it has become then."""

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
        """Blocks of thinking as the model signed them. The text of the last one comes before its signature."""
        self._since_signature: list[str] = []

    @property
    def begun(self) -> dict[str, Any]:
        return reasoning_item(self.identifier, "", [], "in_progress")

    @property
    def whole(self) -> dict[str, Any]:
        return reasoning_item(self.identifier, "".join(self._texts), self.thinking)

    def say(self, text: str) -> Iterator[bytes]:
        self._texts.append(text)
        self._since_signature.append(text)
        yield self._event("response.reasoning_text.delta", **self._place, content_index=0, delta=text)

    def sign(self, block: Mapping[str, Any]) -> None:
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
        """Texts by the kinds of the parts, `output_text` and `refusal`, in their order."""

    @property
    def begun(self) -> dict[str, Any]:
        return message_item([], "in_progress", self.identifier)

    @property
    def whole(self) -> dict[str, Any]:
        return message_item([_part(kind, "".join(texts)) for kind, texts in self._parts.items()], "completed", self.identifier)

    def say(self, kind: str, text: str) -> Iterator[bytes]:
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

    def say(self, arguments: str) -> Iterator[bytes]:
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
        self._speaking: _Reasoning | _Message | None = None
        """The item that is open; calls are open besides."""
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None
        self.whole: dict[str, Any] = {}
        """The response, when it has ended."""

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
            assert isinstance(self._speaking, _Reasoning)
            yield from self._speaking.say(reasoning)
        for block in delta.get("thinking_blocks") or ():
            yield from self._reasoning()
            assert isinstance(self._speaking, _Reasoning)
            self._speaking.sign(block)
        for kind, text in (("output_text", delta.get("content")), ("refusal", delta.get("refusal"))):
            if isinstance(text, str) and text:
                yield from self._say(kind, text)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _reasoning(self) -> Iterator[bytes]:
        if not isinstance(self._speaking, _Reasoning):
            yield from self._begin(_Reasoning(self._event, len(self._items)))

    def _say(self, kind: str, text: str) -> Iterator[bytes]:
        if not isinstance(self._speaking, _Message):
            yield from self._begin(_Message(self._event, len(self._items)))
        assert isinstance(self._speaking, _Message)
        yield from self._speaking.say(kind, text)

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        number, function = int(call.get("index") or 0), call.get("function") or {}
        if number not in self._calls:
            yield from self._pause()
            begun = _Call(self._event, len(self._items), call.get("id") or new_id("call"), function.get("name") or "")
            self._calls[number] = begun
            self._items.append(begun)
            yield from begun.added()
        if arguments := function.get("arguments"):
            yield from self._calls[number].say(arguments)

    def _begin(self, item: _Reasoning | _Message) -> Iterator[bytes]:
        yield from self._pause()
        self._speaking = item
        self._items.append(item)
        yield from item.added()

    def _pause(self) -> Iterator[bytes]:
        if self._speaking is not None:
            speaking, self._speaking = self._speaking, None
            yield from speaking.done()

    def ending(self, usage: Usage | None) -> Iterator[bytes]:
        """Yield the last events."""
        if not self._items or not any(isinstance(item, _Message | _Call) for item in self._items):
            yield from self._say("output_text", "")
        yield from self._pause()
        for call in self._calls.values():
            yield from call.done()
        self.whole = self._response("completed", [item.whole for item in self._items], usage)
        yield self._event(f"response.{self.whole['status']}", response=self.whole)

    def failing(self, problem: Problem) -> bytes:
        """Return the event that ends a response which failed."""
        return self._event("error", code=problem.code, message=problem.message, param=problem.param)

    def _response(self, status: str, output: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        return response_object(
            self._request, self._identifier, self._created_at, self._model, status, output, usage, self._finish_reason
        )

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"
