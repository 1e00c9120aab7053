"""Loads pyarrow, an optional dependency, where a format needs it."""

from typing import Any

from jobs.errors import InvalidRequest

__all__ = ["pyarrow"]


def pyarrow(what: str) -> Any:
    """Return the module. Raises InvalidRequest, with how to install it for `what`, if it is not there."""
    try:
        import pyarrow as module
    except ImportError as exc:
        raise InvalidRequest(f"{what} needs pyarrow: pip install 'roadbalancer[data]'") from exc
    return module
