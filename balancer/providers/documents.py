"""PDFs in a request: OpenAI's `file` and LaaS' `document` are both accepted."""

from collections.abc import Mapping
from typing import Any

from balancer.providers.base import RequestRefused
from balancer.providers.shapes import data_url

__all__ = ["file_of", "with_files"]

NAME = "document"
"""What a file is called that has no name; OpenAI wants one, and reads the type of the file from its end."""
_ENDINGS = {"application/pdf": ".pdf", "text/plain": ".txt"}


def with_files(messages: Any) -> Any:
    """Return a request's messages with each `document` part turned into a `file` part; `messages` itself if there is none.

    Raises RequestRefused for a document that is not in base64.
    """
    if not isinstance(messages, list):
        return messages
    changed: list[Any] | None = None
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if type(content) is list and any(_is_document(part) for part in content):
            changed = changed or list(messages)
            place = f"messages[{index}].content"
            parts = [_file_part(part, f"{place}[{n}]") if _is_document(part) else part for n, part in enumerate(content)]
            changed[index] = {**message, "content": parts}
    return changed or messages


def file_of(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the `file` object that says the same as a `document` part. `place` is where the part is in the request.

    Raises RequestRefused for a document that is not in base64.
    """
    found = part.get("document_url")
    param = f"{place}.document_url.url"
    url = found.get("url") if isinstance(found, dict) else found
    document = data_url(url, param)
    if document is None:
        raise RequestRefused(param, "must be a data: URL in base64: OpenAI's chat completions fetch no documents")
    name = part.get("filename") or NAME + _ENDINGS.get(document.media_type, "")
    return {"filename": name, "file_data": url}


def _is_document(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "document"


def _file_part(part: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {"type": "file", "file": file_of(part, place)}
