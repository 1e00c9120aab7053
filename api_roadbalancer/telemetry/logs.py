"""Sets logging up for a process: as text or JSON, to standard error and to a file; and the audit log."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from api_roadbalancer.telemetry.gathered_logs import GatheringFileHandler, GatheringHandler
from balancer.configuration.values import LogSettings
from balancer.errors import ConfigurationError
from balancer.runtime.events import AUDIT, Event, context_fields

__all__ = ["LOG_LEVELS", "JsonFormatter", "start_audit", "start_logging"]

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
ON_TERMINAL = "%(levelname)s %(name)s: %(message)s"
IN_FILE = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, the fields of an event, and what is being
    worked on (`request_id`, `job`, `endpoint`)."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON."""
        entry: dict[str, Any] = {"time": _time(record), "level": record.levelname, "logger": record.name, **context_fields()}
        if isinstance(record.msg, Event):
            entry |= {"message": record.msg.name, **_known(record.msg.fields)}
        else:
            entry["message"] = record.getMessage()
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _dumped(entry)


class _AuditFormatter(logging.Formatter):
    """One JSON object a line: `time`, `event`, what is being worked on, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        event = record.msg
        assert isinstance(event, Event)
        return _dumped({"time": _time(record), "event": event.name, **context_fields(), **_known(event.fields)})


def start_logging(level: str, settings: LogSettings) -> None:
    """Log from that level on. Raises ConfigurationError for a level that there is not and for files that can't be written.

    Files are opened again when they have been moved, as logrotate does.
    """
    if level not in LOG_LEVELS:
        raise ConfigurationError("--log-level", level, f"is not a log level; choose {', '.join(LOG_LEVELS)}")
    root = logging.getLogger()
    root.setLevel(level)
    as_json = JsonFormatter() if settings.format == "json" else None
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
            handler = GatheringHandler(handler.stream)
            root.addHandler(handler)
        handler.setFormatter(as_json or logging.Formatter(ON_TERMINAL))
    if settings.file:
        handler = _file(settings.file, "log.file")
        handler.setFormatter(as_json or logging.Formatter(IN_FILE))
        root.addHandler(handler)
    # What no line of ours holds need not be found out for each (Python's "Logging HOWTO", "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def start_audit(path: str) -> None:
    """Add events to the audit log in this file. Raises ConfigurationError if it can't be written."""
    handler = _file(path, "audit.file")
    handler.setFormatter(_AuditFormatter())
    for before in list(AUDIT.handlers):  # of a program that has opened another configuration
        AUDIT.removeHandler(before)
        before.close()
    AUDIT.addHandler(handler)
    AUDIT.setLevel(logging.INFO)


def _file(path: str, setting: str) -> logging.Handler:
    try:
        return GatheringFileHandler(path, encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError("", setting, f"{path} can't be written: {exc.strerror}") from None


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _dumped(entry: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(entry, default=str).decode()
    except TypeError:  # bytes of a path that are no UTF-8 are lone surrogates, which only escapes can hold
        return json.dumps(entry, default=str)
