"""Puts the chunks of a streamed answer together again, without loss (OpenAI's `chat.completion.chunk`)."""

from collections.abc import Mapping
from typing import Any

__all__ = ["CompletionBuilder"]


class _Pieces(list[str]):
    """A text that has come in pieces: joined once, at the end, so that a long one costs no more by the piece than a short one."""


class CompletionBuilder:
    """Takes chunks with `add`; `completion` is the answer as it would have come whole.

    Text is joined, lists are extended, objects are merged, and of anything else the last value that is not null counts, whether
    the field is known here or not. The `index` says which tool call a part belongs to.
    """

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._messages: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take the next chunk."""
        if None in chunk.values():
            chunk = {name: value for name, value in chunk.items() if value is not None}
        self._fields.update(chunk)
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            whole = self._choices.get(index)
            if whole is None:
                whole = self._choices[index] = {"index": index}
                self._messages[index] = {"role": "assistant", "content": None}
            for name, value in choice.items():
                if name == "delta":
                    _merge(self._messages[index], value)
                elif value is not None and name != "index":
                    whole[name] = _merged(whole[name], value) if name in whole and isinstance(value, list | dict) else value

    @property
    def is_finished(self) -> bool:
        """Whether every choice that began has a finish reason."""
        return bool(self._choices) and all(choice.get("finish_reason") is not None for choice in self._choices.values())

    def completion(self) -> dict[str, Any]:
        """Return the whole answer."""
        choices = []
        for index in sorted(self._choices):
            message = self._messages[index]
            if "tool_calls" in message:
                message = {**message, "tool_calls": _without_index(message["tool_calls"])}
            choices.append({"index": index, "message": message, "finish_reason": None, **self._choices[index]})
        return {**self._fields, "object": "chat.completion", "choices": _joined(choices)}


def _merge(whole: dict[str, Any], part: Mapping[str, Any] | None) -> None:
    for name, value in (part or {}).items():
        if value is None:
            whole.setdefault(name, None)
        elif name == "tool_calls":
            whole[name] = _with_calls(whole.get(name) or [], value)
        elif name == "role":
            whole[name] = value
        else:
            before = whole.get(name)
            whole[name] = value if before is None else _merged(before, value)


def _merged(before: Any, value: Any) -> Any:
    if isinstance(value, str):
        if type(before) is _Pieces:
            before.append(value)
            return before
        if isinstance(before, str):
            return _Pieces((before, value))
    if isinstance(before, list) and isinstance(value, list):
        return before + value
    if isinstance(before, dict) and isinstance(value, dict):
        both = dict(before)
        for name, part in value.items():
            both[name] = part if both.get(name) is None else both[name] if part is None else _merged(both[name], part)
        return both
    return value


def _with_calls(calls: list[dict[str, Any]], parts: list[Any]) -> list[dict[str, Any]]:
    """Add parts of tool calls to those that have begun. Names and ids come once, or are repeated; arguments are joined."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        index = part.get("index", len(calls))
        call = next((one for one in calls if one.get("index") == index), None)
        if call is None:
            call = {"index": index}
            calls.append(call)
        _merge_call(call, part)
    return calls


def _merge_call(call: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            _merge_call(call.setdefault(name, {}), value)
        elif name in ("arguments", "input") and isinstance(value, str):
            call[name] = _merged(call.get(name), value)
        elif value is not None and name != "index":
            call[name] = call.get(name) or value


def _joined(value: Any) -> Any:
    """Return the value with every text in one piece."""
    if type(value) is _Pieces:
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_joined(part) for part in value]
    return value


def _without_index(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in call.items() if name != "index"} for call in calls]
