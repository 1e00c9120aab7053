"""JSON responses by orjson."""

from typing import Any

import orjson
from starlette.responses import JSONResponse

__all__ = ["JsonBytes"]


class JsonBytes(JSONResponse):
    """A JSON answer of anything that orjson takes."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return orjson.dumps(content)
