"""JSON responses by orjson, and times as text."""

from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import JSONResponse

__all__ = ["JsonBytes", "rfc3339"]


class JsonBytes(JSONResponse):
    """A JSON answer of anything that orjson takes."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return orjson.dumps(content)


def rfc3339(seconds: int) -> str:
    """Return a time, in seconds since the epoch, in the format of RFC 3339, such as `2026-11-28T20:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
