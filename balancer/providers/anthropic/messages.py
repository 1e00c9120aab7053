"""Converts OpenAI's messages to Anthropic's: system text apart, alternating roles, content blocks.

A place is where something stands in the OpenAI request, such as `messages[2].content[0].image_url`.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from balancer.providers.base import RequestRefused
from balancer.providers.shapes import data_url

__all__ = ["conversation", "list_at", "object_at", "text_at", "tool_id"]

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF = "application/pdf"
_PLAIN = "text/plain"
_NOT_IN_A_TOOL_ID = re.compile(r"[^a-zA-Z0-9_-]")

Block = dict[str, Any]
Reader = Callable[[dict[str, Any], str], Block | None]


def conversation(messages: Any) -> tuple[str | list[Block], list[dict[str, Any]]]:
    """Return all system text, joined by blank lines, and the other messages, those of the same side merged. The system text
    stays in blocks where one of them has more to it, such as `cache_control`.

    Empty text says nothing and is left out, since Anthropic refuses it. Raises RequestRefused.
    """
    system: list[Block] = []
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(list_at(messages, "messages")):
        place = f"messages[{index}]"
        role = object_at(message, place).get("role")
        if role in ("system", "developer"):
            system += _blocks(message.get("content"), f"{place}.content", _SYSTEM_PARTS, message)
        elif isinstance(role, str) and role in _ROLES:
            _add(turns, "assistant" if role == "assistant" else "user", _ROLES[role](message, place))
        else:
            raise RequestRefused(f"{place}.role", "must be system, developer, user, assistant or tool")
    if not turns:
        raise RequestRefused("messages", "Anthropic needs a user's message with something in it")
    if any(len(block) > len(_TEXT_ALONE) for block in system):
        return system, turns
    return "\n\n".join(block["text"] for block in system), turns


def list_at(value: Any, place: str) -> Sequence[Any]:
    """Return `value` if it is a list. Raises RequestRefused, as the other two do."""
    if not isinstance(value, list | tuple):
        raise RequestRefused(place, f"must be a list (got {_name(value)})")
    return value


def object_at(value: Any, place: str) -> dict[str, Any]:
    """Return `value` if it is an object."""
    if not isinstance(value, dict):
        raise RequestRefused(place, f"must be an object (got {_name(value)})")
    return value


def text_at(value: Any, place: str) -> str:
    """Return `value` if it is a string."""
    if not isinstance(value, str):
        raise RequestRefused(place, f"must be a string (got {_name(value)})")
    return value


def _name(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def _add(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if not blocks:
        return
    if not turns or turns[-1]["role"] != role:
        turns.append({"role": role, "content": blocks})
        return
    merged = turns[-1]["content"] + blocks
    # A turn that answers tool calls has to begin with the results. The sort is stable.
    turns[-1]["content"] = sorted(merged, key=lambda block: block["type"] != "tool_result")


def _user(message: Mapping[str, Any], place: str) -> list[Block]:
    return _blocks(message.get("content"), f"{place}.content", _USER_PARTS, message)


def _assistant(message: Mapping[str, Any], place: str) -> list[Block]:
    for name in ("function_call", "audio", "images"):
        if message.get(name) is not None:
            raise RequestRefused(f"{place}.{name}", "Anthropic has no such thing")
    content = message.get("content")
    blocks = _thinking(message.get("thinking_blocks"), f"{place}.thinking_blocks")
    blocks += _blocks("" if content is None else content, f"{place}.content", _ASSISTANT_PARTS, message)
    if message.get("refusal") is not None:
        blocks += _words(text_at(message["refusal"], f"{place}.refusal"))
    calls = message.get("tool_calls")
    for index, call in enumerate(list_at([] if calls is None else calls, f"{place}.tool_calls")):
        blocks.append(_tool_use(call, f"{place}.tool_calls[{index}]"))
    return blocks


def _thinking(blocks: Any, place: str) -> list[Block]:
    """Return the thinking of an earlier answer, which Anthropic wants back as it was. What has no signature is another model's,
    and would be refused."""
    made = []
    for index, block in enumerate(list_at([] if blocks is None else blocks, place)):
        here = f"{place}[{index}]"
        kind = object_at(block, here).get("type")
        fields = _THINKING.get(kind) if isinstance(kind, str) else None
        if fields is None:
            raise RequestRefused(f"{here}.type", f"must be {' or '.join(_THINKING)}")
        thought = {"type": kind, **{name: text_at(block.get(name), f"{here}.{name}") for name in fields}}
        if thought.get("signature") != "":
            made.append(thought)
    return made


def _tool_use(call: Any, place: str) -> Block:
    identifier = tool_id(text_at(object_at(call, place).get("id"), f"{place}.id"))
    function = object_at(call.get("function"), f"{place}.function")
    name = text_at(function.get("name"), f"{place}.function.name")
    where = f"{place}.function.arguments"
    try:
        arguments = orjson.loads(text_at(function.get("arguments"), where).strip() or "{}")
    except orjson.JSONDecodeError as exc:
        raise RequestRefused(where, f"must be a JSON object as text; {exc.msg} at character {exc.pos}") from None
    return {"type": "tool_use", "id": identifier, "name": name, "input": object_at(arguments, where), **_cache(call, place)}


def tool_id(identifier: str) -> str:
    """Return a tool call's id as Anthropic takes it (`^[a-zA-Z0-9_-]+$`): the same for a call and for its result.

    Other providers' ids, such as `functions.f:0`, keep what may stand, and get a digest so that two of them stay two.
    """
    fit = _NOT_IN_A_TOOL_ID.sub("_", identifier)
    if fit == identifier and fit:
        return identifier
    return f"{fit[:40]}_{hashlib.blake2b(identifier.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _tool(message: Mapping[str, Any], place: str) -> list[Block]:
    identifier = tool_id(text_at(message.get("tool_call_id"), f"{place}.tool_call_id"))
    failed = {"is_error": True} if message.get("is_error") else {}
    result: Block = {"type": "tool_result", "tool_use_id": identifier, **failed, **_cache(message, place)}
    blocks = _blocks(message.get("content"), f"{place}.content", _USER_PARTS, {})
    return [{**result, "content": blocks} if blocks else result]


_ROLES: Mapping[str, Callable[[Mapping[str, Any], str], list[Block]]] = {"user": _user, "assistant": _assistant, "tool": _tool}


def _blocks(content: Any, place: str, readers: Mapping[str, Reader], message: Mapping[str, Any]) -> list[Block]:
    """Read content: a string or a list of parts. A message's own `cache_control` belongs to its last block."""
    blocks = _words(content) if isinstance(content, str) else _parts(content, place, readers)
    if blocks and (cache := _cache(message, place.rpartition(".")[0])):
        blocks[-1] |= cache
    return blocks


def _parts(content: Any, place: str, readers: Mapping[str, Reader]) -> list[Block]:
    if not isinstance(content, list | tuple):
        raise RequestRefused(place, f"must be a string or a list of parts (got {_name(content)})")
    blocks = []
    for index, part in enumerate(content):
        here = f"{place}[{index}]"
        kind = object_at(part, here).get("type")
        if not isinstance(kind, str) or kind not in readers:
            named = f"{here}.{kind}" if isinstance(kind, str) and kind in part else f"{here}.type"
            raise RequestRefused(named, f"Anthropic takes no such part here; it takes {', '.join(readers)}")
        known = _PART_FIELDS[kind]
        if unknown := next((name for name, value in part.items() if name not in known and value is not None), None):
            raise RequestRefused(f"{here}.{unknown}", "Anthropic takes no such field of a part")
        if block := readers[kind](part, here):
            extra = {name: part[name] for name in _PASSED_ON if name in known and part.get(name) is not None}
            blocks.append({**block, **extra, **_cache(part, here)})
    return blocks


def _cache(owner: Mapping[str, Any], place: str) -> Block:
    """Return what says that the prompt is to be kept up to here, in Anthropic's own words (`{"type": "ephemeral"}`)."""
    control = owner.get("cache_control")
    return {} if control is None else {"cache_control": object_at(control, f"{place}.cache_control")}


def _words(text: str) -> list[Block]:
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _text(part: dict[str, Any], place: str) -> Block | None:
    return next(iter(_words(text_at(part.get("text"), f"{place}.text"))), None)


def _refusal(part: dict[str, Any], place: str) -> Block | None:
    return next(iter(_words(text_at(part.get("refusal"), f"{place}.refusal"))), None)


def _image(part: dict[str, Any], place: str) -> Block:
    where = f"{place}.image_url.url"
    url = object_at(part.get("image_url"), f"{place}.image_url").get("url")
    return {"type": "image", "source": _source(url, where, _IMAGES)}


def _file(part: dict[str, Any], place: str) -> Block:
    file = object_at(part.get("file"), f"{place}.file")
    if file.get("file_id") is not None:
        raise RequestRefused(f"{place}.file.file_id", "files are not kept at Anthropic; give the content as `file_data`")
    block = {"type": "document", "source": _source(file.get("file_data"), f"{place}.file.file_data", {_PDF, _PLAIN})}
    title = file.get("filename")
    return {**block, "title": text_at(title, f"{place}.file.filename")} if title else block


def _document(part: dict[str, Any], place: str) -> Block:
    url = object_at(part.get("document_url"), f"{place}.document_url").get("url")
    return {"type": "document", "source": _source(url, f"{place}.document_url.url", {_PDF, _PLAIN})}


def _source(url: Any, place: str, media_types: frozenset[str] | set[str]) -> dict[str, str]:
    content = data_url(url, place)
    if content is None:
        return {"type": "url", "url": url}
    media_type = "image/jpeg" if content.media_type == "image/jpg" else content.media_type
    if media_type not in media_types:
        raise RequestRefused(place, f"Anthropic takes {', '.join(sorted(media_types))} here (got {media_type[:40]})")
    if media_type == _PLAIN:
        return {"type": "text", "media_type": media_type, "data": _decoded(content.data, place)}
    return {"type": "base64", "media_type": media_type, "data": content.data}


def _decoded(data: str, place: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise RequestRefused(place, "must be UTF-8 text in base64") from None


_THINKING = {"thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
"""Fields of the blocks that show a model's thinking."""
_TEXT_ALONE = ("type", "text")
_EVERYWHERE = frozenset({"type", "cache_control"})
_PASSED_ON = ("citations", "title", "context")
"""Fields that mean the same at Anthropic."""
_PART_FIELDS: Mapping[str, frozenset[str]] = {
    "text": _EVERYWHERE | {"text", "citations"},
    "refusal": _EVERYWHERE | {"refusal"},
    "image_url": _EVERYWHERE | {"image_url"},
    "file": _EVERYWHERE | {"file", "title", "context", "citations"},
    "document": _EVERYWHERE | {"document_url", "filename", "title", "context", "citations"},
}
_SYSTEM_PARTS: Mapping[str, Reader] = {"text": _text}
_ASSISTANT_PARTS: Mapping[str, Reader] = {"text": _text, "refusal": _refusal}
_USER_PARTS: Mapping[str, Reader] = {"text": _text, "image_url": _image, "file": _file, "document": _document}
