"""Finds the lines of a job whose request or answer has a text."""

from collections.abc import Iterator
from typing import Any

import orjson

__all__ = ["TextSearch"]

_NOT_TEXT = frozenset(
    {
        "created",
        "data",
        "embedding",
        "finish_reason",
        "id",
        "model",
        "object",
        "role",
        "service_tier",
        "system_fingerprint",
        "type",
    }
)
"""Fields of requests and answers (OpenAI's names) that say how, not what; `data` is the content of media, in base64."""
_ESCAPED = frozenset('"\\/') | {chr(number) for number in range(0x20)} | {"\x7f"}
"""Characters that JSON may write otherwise than as they are, beside `\\uXXXX`."""


class TextSearch:
    """Looks for a text in results with their requests (`with_request`), whatever its case."""

    def __init__(self, text: str) -> None:
        self._wanted = text.casefold()
        self._as_it_is = not _ESCAPED & set(self._wanted)

    def is_in(self, line: bytes) -> bool:
        """Say whether the prompt, the answer, the error or the custom_id of a line has the text."""
        written = line.decode()
        if self._as_it_is and "\\u" not in written and self._wanted not in written.casefold():
            return False  # most lines need not be parsed
        entry = orjson.loads(line)
        searched = [entry.get("custom_id"), entry.get("request"), (entry.get("response") or {}).get("body"), entry.get("error")]
        return any(self._wanted in text.casefold() for text in _texts(searched))


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings of a value of JSON, however deep it is, without those that are no text."""
    left = [value]
    while left:
        match left.pop():
            case str() as text if not text.startswith("data:"):
                yield text
            case list() as items:
                left.extend(items)
            case dict() as fields:
                left.extend(field for name, field in fields.items() if name not in _NOT_TEXT)
