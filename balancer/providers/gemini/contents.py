"""Converts chat messages to Gemini's `contents` (ai.google.dev/api/caching#Content)."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from balancer.providers.base import RequestRefused
from balancer.providers.shapes import data_url

__all__ = ["NO_SIGNATURE", "Conversation", "text_of_parts"]

NO_SIGNATURE = "skip_thought_signature_validator"
"""Google's own word for "this call was made by another model, so it has no signature". Models from Gemini 3 on refuse a call of
the conversation without a signature (ai.google.dev/gemini-api/docs/thought-signatures)."""
_COMMON = frozenset(
    {
        "role", "content", "name", "refusal", "annotations", "reasoning", "reasoning_content", "thinking_blocks", "extra_content",
        "cache_control", "citations",
    }
)  # fmt: skip
"""Fields of any message: those that are read, those of an answer that need not go back, and those that change no answer."""
_FIELDS = {
    "assistant": _COMMON | {"tool_calls", "images"},
    "tool": _COMMON | {"tool_call_id", "is_error"},
}
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_MEDIA_TYPES = {
    "gif": "image/gif", "heic": "image/heic", "heif": "image/heif", "jpeg": "image/jpeg", "jpg": "image/jpeg",
    "pdf": "application/pdf", "png": "image/png", "webp": "image/webp",
}  # fmt: skip
"""By the ending of an address, which is all that is known of a file elsewhere."""

Part = dict[str, Any]


class Conversation:
    """Takes in the messages of one request, one after the other. `contents` and `system` are what they make.

    With `signed`, calls that no Gemini model has signed are marked so. Raises RequestRefused.
    """

    def __init__(self, messages: Any, signed: bool) -> None:
        if not isinstance(messages, list | tuple) or not messages:
            raise RequestRefused("messages", "must be a list with a message at least")
        self.contents: list[dict[str, Any]] = []
        self._system: list[str] = []
        self._signed = signed
        self._called: dict[str, str] = {}
        """The names of the tools that have been called, by the calls' ids."""
        self._results: list[Part] | None = None
        """The results that came last. Gemini wants those of one turn together."""
        for index, message in enumerate(messages):
            self._take(message, f"messages[{index}]")
        if not self.contents:
            raise RequestRefused("messages", "Gemini needs a message of a user; there are only system messages")

    @property
    def system(self) -> str:
        """All system text, joined by blank lines."""
        return "\n\n".join(text for text in self._system if text)

    def _take(self, message: Any, where: str) -> None:
        if not isinstance(message, dict):
            raise RequestRefused(where, "must be an object with `role` and `content`")
        role = message.get("role")
        _check_fields(message, role, where)
        if role == "tool":
            self._take_result(message, where)
            return
        self._results = None
        if role == "user":
            self.contents.append({"role": "user", "parts": _parts(message.get("content"), f"{where}.content")})
        elif role == "assistant":
            parts = self._said(message, where)
            if parts:
                self.contents.append({"role": "model", "parts": parts})
        elif role in ("system", "developer"):
            self._system.append(text_of_parts(message.get("content"), f"{where}.content"))
        else:
            raise RequestRefused(f"{where}.role", "must be system, developer, user, assistant or tool")

    def _take_result(self, message: Mapping[str, Any], where: str) -> None:
        identifier = message.get("tool_call_id")
        name = self._called.get(identifier) if isinstance(identifier, str) else None
        if name is None:
            raise RequestRefused(f"{where}.tool_call_id", "must be the id of a tool call in a message before")
        # Google names both fields for what a function gave back.
        field = "error" if message.get("is_error") else "output"
        response = {field: text_of_parts(message.get("content"), f"{where}.content")}
        if self._results is None:
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        self._results.append({"functionResponse": {"id": identifier, "name": name, "response": response}})

    def _said(self, message: Mapping[str, Any], where: str) -> list[Part]:
        texts = (text_of_parts(message.get(name), f"{where}.{name}") for name in ("content", "refusal") if message.get(name))
        parts: list[Part] = [{"text": text} for text in texts if text]
        parts += _images(message.get("images"), f"{where}.images")
        calls = message.get("tool_calls") or ()
        if not isinstance(calls, list | tuple):
            raise RequestRefused(f"{where}.tool_calls", "must be a list")
        made = [self._call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls)]
        if made and self._signed and not any("thoughtSignature" in part for part in made):
            made[0]["thoughtSignature"] = NO_SIGNATURE  # of calls made at once, the model signs the first
        return parts + made

    def _call(self, call: Any, where: str) -> Part:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise RequestRefused(where, 'must be {"id": ..., "type": "function", "function": {"name": ..., "arguments": ...}}')
        identifier, name = call.get("id"), function.get("name")
        if not isinstance(identifier, str) or not identifier:
            raise RequestRefused(f"{where}.id", "must be a string")
        if not isinstance(name, str) or not name:
            raise RequestRefused(f"{where}.function.name", "must be a string")
        self._called[identifier] = name
        arguments = _arguments(function.get("arguments"), f"{where}.function.arguments")
        part: Part = {"functionCall": {"id": identifier, "name": name, "args": arguments}}
        signature = _signature(call.get("extra_content"))
        return {**part, "thoughtSignature": signature} if signature else part


def text_of_parts(content: Any, where: str) -> str:
    """Return the text of content that may hold nothing else: text, a list of text parts, or null. Raises RequestRefused."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list | tuple):
        raise RequestRefused(where, "must be text or a list of parts")
    texts = []
    for index, part in enumerate(content):
        text = part.get("refusal" if part.get("type") == "refusal" else "text") if isinstance(part, dict) else None
        if not isinstance(text, str):
            raise RequestRefused(f"{where}[{index}]", 'must be {"type": "text", "text": ...}; Gemini takes only text here')
        texts.append(text)
    return "".join(texts)


def _check_fields(message: Mapping[str, Any], role: Any, where: str) -> None:
    known = _FIELDS.get(role, _COMMON) if isinstance(role, str) else _COMMON
    for name, value in message.items():
        if name not in known and value not in _EMPTY:
            raise RequestRefused(f"{where}.{name}", "Gemini can't do this")


def _arguments(text: Any, where: str) -> dict[str, Any]:
    if text in (None, ""):
        return {}
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise RequestRefused(where, "must be a JSON object as text")
    return arguments


def _signature(extra: Any) -> str | None:
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else None


def _parts(content: Any, where: str) -> list[Part]:
    if isinstance(content, str):
        return [{"text": content}]
    if not isinstance(content, list | tuple) or not content:
        raise RequestRefused(where, "must be text or a list with a part at least")
    return [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, where: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise RequestRefused(f"{where}.type", f"must be one of {', '.join(_READERS)}; Gemini takes no other parts")
    return read(part, where)


def _text(part: Mapping[str, Any], where: str) -> Part:
    if not isinstance(part.get("text"), str):
        raise RequestRefused(f"{where}.text", "must be a string")
    return {"text": part["text"]}


def _images(images: Any, where: str) -> list[Part]:
    """Return the images of an earlier answer, which are given back to have them changed."""
    if not isinstance(images, list | tuple | None):
        raise RequestRefused(where, "must be a list of images")
    return [_image(image if isinstance(image, dict) else {}, f"{where}[{index}]") for index, image in enumerate(images or ())]


def _image(part: Mapping[str, Any], where: str) -> Part:
    image = part.get("image_url")
    return _media(image.get("url") if isinstance(image, dict) else image, f"{where}.image_url")


def _file(part: Mapping[str, Any], where: str) -> Part:
    file = part.get("file")
    if not isinstance(file, dict) or file.get("file_data") is None:
        raise RequestRefused(f"{where}.file", "must have `file_data`, a data: URL; Gemini knows no file ids of others")
    return _media(file["file_data"], f"{where}.file.file_data")


def _document(part: Mapping[str, Any], where: str) -> Part:
    document = part.get("document_url")
    return _media(document.get("url") if isinstance(document, dict) else document, f"{where}.document_url")


def _audio(part: Mapping[str, Any], where: str) -> Part:
    audio = part.get("input_audio")
    audio = audio if isinstance(audio, dict) else {}
    data, format = audio.get("data"), audio.get("format")
    if not isinstance(data, str) or not isinstance(format, str):
        raise RequestRefused(f"{where}.input_audio", "must have `data` in base64 and `format`, such as wav")
    return {"inlineData": {"mimeType": f"audio/{format}", "data": data}}


def _media(url: Any, where: str) -> Part:
    content = data_url(url, where)
    if content is not None:
        return {"inlineData": {"mimeType": content.media_type, "data": content.data}}
    media_type = _MEDIA_TYPES.get(url.partition("?")[0].rpartition(".")[2].lower())
    return {"fileData": {"fileUri": url, **({"mimeType": media_type} if media_type else {})}}


_READERS: dict[str, Callable[[Mapping[str, Any], str], Part]] = {
    "text": _text, "image_url": _image, "file": _file, "document": _document, "input_audio": _audio,
}  # fmt: skip
