"""Converts the messages of Anthropic's format to those of a chat request (pure).

Shapes: anthropic SDK 2.11, `anthropic.types`. Fields without a counterpart in a chat request keep Anthropic's names and are
read by its adapter: `cache_control`, `citations`, `title` and `context` of parts, `thinking_blocks` of an assistant's message,
`is_error` of a tool's.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from producer_api.messages.reading import known, list_at, object_at, refused, text_at

__all__ = ["chat_messages"]

Message = dict[str, Any]
Part = dict[str, Any]
_CACHED = ("type", "cache_control")
_DIRECT = {"type": "direct"}
"""`caller` of a tool use that the model itself has requested."""


def chat_messages(request: Mapping[str, Any]) -> list[Message]:
    """Return the system prompt and the messages as those of a chat. Raises ApiError that names the place."""
    messages = [*_system(request.get("system"))]
    given = list_at(request.get("messages"), "messages")
    for index, message in enumerate(given):
        place = f"messages[{index}]"
        known(object_at(message, place), ("role", "content"), place)
        read = _ROLES.get(message.get("role")) if isinstance(message.get("role"), str) else None
        if read is None:
            raise refused(f"{place}.role", "must be user, assistant or system")
        messages += read(message.get("content"), f"{place}.content")
    if not given:
        raise refused("messages", "at least one message is required")
    return messages


def _system(content: Any, place: str = "system") -> Iterator[Message]:
    if content is None or content == []:
        return
    blocks = list(_blocks(content, place, {"text": _text}))
    plain = all(len(block) == len(("type", "text")) for block in blocks)
    yield {"role": "system", "content": "\n\n".join(block["text"] for block in blocks) if plain else blocks}


def _user(content: Any, place: str) -> Iterator[Message]:
    """Tool results within a user's message become messages of their own, with the role `tool`."""
    held: list[Part] = []
    for block in _blocks(content, place, _USER_BLOCKS):
        if block.get("role") == "tool":
            if held:
                yield _of_user(held)
                held = []
            yield block
        else:
            held.append(block)
    if held:
        yield _of_user(held)


def _of_user(parts: list[Part]) -> Message:
    alone = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return {"role": "user", "content": parts[0]["text"] if alone else parts}


def _assistant(content: Any, place: str) -> Iterator[Message]:
    blocks = list(_blocks(content, place, _ASSISTANT_BLOCKS))
    message: Message = {"role": "assistant"}
    texts = [block for block in blocks if block["type"] == "text"]
    if all(block.keys() == {"type", "text"} for block in texts):
        message["content"] = "".join(block["text"] for block in texts) if texts else None
    else:
        message["content"] = texts
    if thinking := [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]:
        message["thinking_blocks"] = thinking
    if calls := [block for block in blocks if block["type"] == "function"]:
        message["tool_calls"] = calls
    yield message


_ROLES: Mapping[str, Callable[[Any, str], Iterator[Message]]] = {"user": _user, "assistant": _assistant, "system": _system}


def _blocks(content: Any, place: str, readers: Mapping[str, Callable[[Mapping[str, Any], str], Part]]) -> Iterator[Part]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        raise refused(place, "must be a string or a list of content blocks")
    for index, block in enumerate(content):
        here = f"{place}[{index}]"
        kind = object_at(block, here).get("type")
        if not isinstance(kind, str) or kind not in readers:
            raise refused(f"{here}.type", f"must be one of {', '.join(readers)} here")
        made = readers[kind](block, here)
        if (control := block.get("cache_control")) is not None:
            made["cache_control"] = object_at(control, f"{here}.cache_control")
        yield made


def _text(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "text", "citations"), place)
    cited = {"citations": block["citations"]} if block.get("citations") else {}
    return {"type": "text", "text": text_at(block.get("text"), f"{place}.text"), **cited}


def _image(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "source"), place)
    return {"type": "image_url", "image_url": {"url": _url(block.get("source"), f"{place}.source", "image/png")}}


def _document(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "source", "title", "context", "citations"), place)
    more = {name: block[name] for name in ("title", "context", "citations") if block.get(name) is not None}
    url = _url(block.get("source"), f"{place}.source", "application/pdf")
    if not url.startswith("data:"):
        return {"type": "document", "document_url": {"url": url}, **more}
    ending = ".txt" if url.startswith("data:text/plain") else ".pdf"
    name = more["title"] if isinstance(more.get("title"), str) else "document"
    return {"type": "file", "file": {"filename": name if "." in name else name + ending, "file_data": url}, **more}


def _url(source: Any, place: str, usual_type: str) -> str:
    """Return the URL of a source: its address, or a `data:` URL with its content."""
    kind = object_at(source, place).get("type")
    if kind == "url":
        return text_at(source.get("url"), f"{place}.url")
    if kind == "base64":
        data = text_at(source.get("data"), f"{place}.data")
        return f"data:{text_at(source.get('media_type') or usual_type, f'{place}.media_type')};base64,{data}"
    if kind == "text":
        data = base64.b64encode(text_at(source.get("data"), f"{place}.data").encode("utf-8", "surrogatepass")).decode()
        return f"data:text/plain;base64,{data}"
    raise refused(f"{place}.type", "must be base64, url or text; files that Anthropic keeps can't be used here")


def _tool_result(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "tool_use_id", "content", "is_error"), place)
    content = block.get("content")
    parts = [] if content is None else list(_blocks(content, f"{place}.content", _RESULT_BLOCKS))
    plain = all(part.keys() == {"type", "text"} for part in parts)
    failed = {"is_error": True} if block.get("is_error") else {}
    identifier = text_at(block.get("tool_use_id"), f"{place}.tool_use_id")
    text = "\n".join(part["text"] for part in parts) if plain else parts
    return {"role": "tool", "tool_call_id": identifier, "content": text, **failed}


def _tool_use(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "id", "name", "input", "caller"), place)
    caller = object_at(block.get("caller") or _DIRECT, f"{place}.caller")
    if caller != _DIRECT:
        raise refused(f"{place}.caller", "must be of type direct; tools that Anthropic's servers run are not supported here")
    arguments = orjson.dumps(object_at(block.get("input"), f"{place}.input")).decode()
    function = {"name": text_at(block.get("name"), f"{place}.name"), "arguments": arguments}
    return {"type": "function", "id": text_at(block.get("id"), f"{place}.id"), "function": function}


def _thinking(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "thinking", "signature"), place)
    thinking, signature = (text_at(block.get(name), f"{place}.{name}") for name in ("thinking", "signature"))
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def _redacted(block: Mapping[str, Any], place: str) -> Part:
    known(block, (*_CACHED, "data"), place)
    return {"type": "redacted_thinking", "data": text_at(block.get("data"), f"{place}.data")}


_RESULT_BLOCKS = {"text": _text, "image": _image, "document": _document}
_USER_BLOCKS = {**_RESULT_BLOCKS, "tool_result": _tool_result}
_ASSISTANT_BLOCKS = {"text": _text, "thinking": _thinking, "redacted_thinking": _redacted, "tool_use": _tool_use}
