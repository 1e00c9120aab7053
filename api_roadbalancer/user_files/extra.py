"""Loads optional dependencies where a format needs them."""

from importlib import import_module
from typing import Any

from jobs.errors import InvalidRequest

__all__ = ["openpyxl", "pyarrow"]


def pyarrow(what: str) -> Any:
    """Return the module. Raises InvalidRequest, with how to install it for `what`, if it is not there."""
    return _loaded("pyarrow", what)


def openpyxl(what: str) -> Any:
    """Return the module, as `pyarrow` does."""
    return _loaded("openpyxl", what)


def _loaded(name: str, what: str) -> Any:
    try:
        return import_module(name)
    except ImportError as exc:
        raise InvalidRequest(f"{what} needs {name}: pip install 'roadbalancer[data]'") from exc
