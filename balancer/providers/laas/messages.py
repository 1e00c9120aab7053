"""Converts OpenAI's messages to LaaS' format.

A PDF is `{"type": "document", "document_url": {"url": "data:application/pdf;base64,…"}}`; OpenAI's `file` parts and Anthropic's
`document` blocks are put into that shape. What else a message or a part has (a name, an image's `detail`) LaaS doesn't know, and
it is left out; tools are refused.
"""

import logging
from collections.abc import Mapping
from typing import Any

from balancer.providers.base import RequestRefused
from balancer.providers.laas.limits import IMAGES_PER_MESSAGE, LONG_SIDE, accepted_image, check_pdf
from balancer.providers.shapes import DataUrl, data_url

__all__ = ["laas_messages"]

log = logging.getLogger(__name__)

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


def laas_messages(messages: Any) -> list[dict[str, Any]]:
    """Translate a request's `messages`. Raises RequestRefused with the place of what LaaS can't take."""
    if not isinstance(messages, list):
        raise RequestRefused("messages", "must be a list")
    return [_message(message, f"messages[{number}]") for number, message in enumerate(messages)]


def _message(message: Any, place: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise RequestRefused(place, "must be an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestRefused(f"{place}.role", f"LaaS takes the roles user, assistant and system, not {str(role)[:40]!r}")
    for name in ("tool_calls", "function_call"):
        if message.get(name):
            raise RequestRefused(f"{place}.{name}", "LaaS can't do tools")
    content = message.get("content")
    if content is None and role == "assistant":
        content = message.get("refusal") or ""
    return {"role": _ROLES[role], "content": _content(content, f"{place}.content")}


def _content(content: Any, place: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise RequestRefused(place, "must be a string or a list of parts")
    parts = [_part(part, f"{place}[{number}]") for number, part in enumerate(content)]
    images = [number for number, part in enumerate(parts) if part["type"] == "image_url"]
    if len(images) > IMAGES_PER_MESSAGE:
        param = f"{place}[{images[IMAGES_PER_MESSAGE]}].image_url"
        raise RequestRefused(param, f"LaaS takes at most {IMAGES_PER_MESSAGE} images in a message, this one has {len(images)}")
    return parts


def _part(part: Any, place: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise RequestRefused(f"{place}.text", "must be a string")
        return {"type": "text", "text": part["text"]}
    if kind == "image_url":
        return _image(_field(part, "image_url", "url"), f"{place}.image_url")
    if kind == "file":
        return _document(_file_data(part, place), f"{place}.file.file_data")
    if kind == "document" and part.get("source"):
        return _pdf(_anthropic_document(part["source"], f"{place}.source"), f"{place}.source")
    if kind == "document":
        return _document(_field(part, "document_url", "url"), f"{place}.document_url")
    raise RequestRefused(f"{place}.type", f"LaaS takes text, image_url, file and document parts, not {str(kind)[:40]!r}")


def _field(part: Mapping[str, Any], name: str, inner: str) -> Any:
    found = part.get(name)
    return found.get(inner) if isinstance(found, dict) else None


def _image(url: Any, param: str) -> dict[str, Any]:
    inline = data_url(url, param)
    if inline is None:
        return {"type": "image_url", "image_url": {"url": url}}
    header = accepted_image(inline, param)
    if header.long_side > LONG_SIDE:
        log.warning("%s: its longer side has %d pixels; LaaS advises at most %d", param, header.long_side, LONG_SIDE)
    return {"type": "image_url", "image_url": {"url": f"data:{header.media_type};base64,{inline.data}"}}


def _file_data(part: Mapping[str, Any], place: str) -> Any:
    file_data = _field(part, "file", "file_data")
    if file_data is None:
        raise RequestRefused(f"{place}.file", "LaaS has no uploaded files; put the PDF into `file_data` as a data: URL")
    return file_data


def _document(url: Any, param: str) -> dict[str, Any]:
    inline = data_url(url, param)
    if inline is None:
        raise RequestRefused(param, "LaaS takes a PDF as a data: URL in base64 only, not by its address")
    return _pdf(inline, param)


def _anthropic_document(source: Any, param: str) -> DataUrl:
    if not isinstance(source, dict) or source.get("type") != "base64":
        raise RequestRefused(param, 'must be {"type": "base64", "media_type": "application/pdf", "data": "…"}')
    media_type, data = source.get("media_type"), source.get("data")
    if not isinstance(media_type, str) or not isinstance(data, str):
        raise RequestRefused(param, "must have `media_type` and `data` as strings")
    return DataUrl(media_type, data)


def _pdf(inline: DataUrl, param: str) -> dict[str, Any]:
    check_pdf(inline, param)
    return {"type": "document", "document_url": {"url": f"data:{inline.media_type};base64,{inline.data}"}}
