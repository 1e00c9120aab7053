"""Structured log events: a name and fields, in any format, with what is being worked on; and those that the audit log keeps.

The audit log is the logger `roadbalancer.audit`, which is off until a process gives it a handler (see
api_roadbalancer.telemetry.logs).
"""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from balancer.runtime.record import record

__all__ = ["AUDIT", "Event", "add_to_context", "audit", "context_fields", "is_wanted", "log_context"]

AUDIT = logging.getLogger("roadbalancer.audit")
AUDIT.propagate = False
AUDIT.setLevel(logging.CRITICAL + 1)

_context: ContextVar[Mapping[str, Any]] = ContextVar("log_context", default={})  # noqa: B039 (never changed in place)


@record(frozen=True, slots=True)
class Event:
    """A message that is a name and fields; as text `name key=value …`. Fields that are None are left out."""

    name: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        shown = [f"{key}={_text(value)}" for key, value in self.fields.items() if value is not None]
        return " ".join([self.name, *shown])


class log_context:
    """A context manager that adds fields to every event and to every line in JSON that the running task writes meanwhile."""

    __slots__ = ("_fields", "_token")

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = _context.set({**_context.get(), **self._fields})

    def __exit__(self, *exc_info: object) -> None:
        _context.reset(self._token)


def add_to_context(**fields: Any) -> None:
    """Add fields until the surrounding `log_context` ends."""
    _context.set({**_context.get(), **fields})


def context_fields() -> Mapping[str, Any]:
    """Return what is being worked on."""
    return _context.get()


def audit(logger: logging.Logger, event: str, /, **fields: Any) -> None:
    """Log an event, and keep it in the audit log. It must hold nothing of prompts, answers or secrets."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(Event(event, fields))
    if AUDIT.isEnabledFor(logging.INFO):
        AUDIT.info(Event(event, fields))


def is_wanted(logger: logging.Logger) -> bool:
    """Whether `audit` would write anything: for events whose fields take time to gather."""
    return logger.isEnabledFor(logging.INFO) or AUDIT.isEnabledFor(logging.INFO)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isprintable() and " " not in value and '"' not in value else json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return _text(",".join(map(str, value)))
    return str(value)
