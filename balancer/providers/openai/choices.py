"""Validates the parts of OpenAI's choices that readers rely on."""

from typing import Any

__all__ = ["wrong_in"]


def wrong_in(choice: Any, holder: str) -> str | None:
    """Say what in a choice has the wrong type; None if all is well.

    `holder` is `message`, or `delta` for a chunk's choice, in which a tool call may come in fragments.
    """
    if not isinstance(choice, dict):
        return "a choice is no object"
    message = choice.get(holder)
    if not isinstance(message, dict):
        return f"a choice has no `{holder}`"
    # The type itself is looked at first: it is what nearly all have, and quick.
    content = message.get("content")
    if type(content) is not str and not (content is None or isinstance(content, list)):
        return f"`{holder}.content` is no text"
    calls = message.get("tool_calls")
    if calls is not None and (problem := _wrong_in_calls(calls, holder == "delta")):
        return f"`{holder}.tool_calls` {problem}"
    reason = choice.get("finish_reason")
    return None if reason is None or type(reason) is str else "`finish_reason` is no text"


def _wrong_in_calls(calls: Any, fragments: bool) -> str | None:
    if not isinstance(calls, list):
        return "is no list"
    for call in calls:
        if not isinstance(call, dict):
            return "has an entry that is no object"
        function = call.get("function")
        if function is None and (fragments or isinstance(call.get("custom"), dict)):
            continue
        if not isinstance(function, dict):
            return "has a call without `function`"
        for name in ("name", "arguments"):
            if not (isinstance(function.get(name), str) or (fragments and function.get(name) is None)):
                return f"has a `function.{name}` that is no text"
    return None
