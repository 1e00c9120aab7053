"""Events as text and as JSON, with what is being worked on."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_roadbalancer.telemetry import logs
from balancer.configuration.values import LogSettings
from balancer.errors import ConfigurationError
from balancer.runtime.events import AUDIT, Event, add_to_context, audit, context_fields, log_context

log = logging.getLogger("events.test")


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), [handler.formatter for handler in root.handlers], AUDIT.level)
    was = (logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile)
    yield
    for handler in [*AUDIT.handlers, *(each for each in root.handlers if each not in before[1])]:
        AUDIT.removeHandler(handler)
        root.removeHandler(handler)
        handler.close()
    root.setLevel(before[0])
    for handler, formatter in zip(before[1], before[2], strict=True):
        handler.setFormatter(formatter)
    AUDIT.setLevel(before[3])
    logging.logThreads, logging.logProcesses, logging.logMultiprocessing, logging._srcfile = was


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"a": 1, "b": None, "c": "x"}, "done a=1 c=x"),
        ({"key": ""}, "done key="),
        ({"ok": True, "models": ["a", "b"]}, "done ok=true models=a,b"),
        ({"name": "team red"}, 'done name="team red"'),
        ({"name": "팀"}, "done name=팀"),
        # A name can't begin another line, nor look like another field.
        ({"name": "x\nERROR forged"}, 'done name="x\\nERROR forged"'),
        ({"name": 'a" b=c'}, 'done name="a\\" b=c"'),
    ],
)
def test_an_event_is_one_line_of_text(fields: dict[str, Any], text: str) -> None:
    assert str(Event("done", fields)) == text


def test_a_line_in_json_says_what_is_being_worked_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    logs.start_logging("INFO", LogSettings("json", None, str(path)))
    with log_context(job="batch_1", endpoint="a"):
        log.info("%d lines wait", 3)
        log.info(Event("job_ended", {"total": 5, "cost": None}))
    try:
        raise ValueError("no\nluck \udcff")
    except ValueError:
        log.exception("it failed")
    first, second, third = lines(path)
    assert {name: first[name] for name in ("level", "logger", "message", "job", "endpoint")} == {
        "level": "INFO", "logger": "events.test", "message": "3 lines wait", "job": "batch_1", "endpoint": "a",
    }  # fmt: skip
    assert first["time"].endswith("Z")
    assert (second["message"], second["total"], "cost" in second) == ("job_ended", 5, False)
    assert "job" not in third and "ValueError" in third["exception"]


def test_the_audit_log_has_events_whatever_the_level_and_nothing_else(tmp_path: Path) -> None:
    kept, said = tmp_path / "audit.jsonl", tmp_path / "log"
    logs.start_logging("ERROR", LogSettings("text", None, str(said)))
    logs.start_audit(str(kept))
    with log_context(request_id="r1"):
        add_to_context(by="key_1")
        audit(log, "key_revoked", key="key_2")
        log.error("a failure")
    [event] = lines(kept)
    assert event.pop("time").endswith("Z")
    assert event == {"event": "key_revoked", "request_id": "r1", "by": "key_1", "key": "key_2"}
    assert "key_revoked" not in said.read_text() and "a failure" in said.read_text()
    assert not context_fields()


def test_a_file_that_was_moved_is_made_again(tmp_path: Path) -> None:
    kept = tmp_path / "audit.jsonl"
    logs.start_audit(str(kept))
    audit(log, "first")
    kept.rename(tmp_path / "audit.jsonl.1")
    audit(log, "second")
    assert [line["event"] for line in lines(kept)] == ["second"]


def test_another_audit_log_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for name in ("one", "two"):
        logs.start_audit(str(tmp_path / name))
    audit(log, "event")
    assert not (tmp_path / "one").read_text() and len(lines(tmp_path / "two")) == 1


def test_a_file_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"audit\.file: .*nowhere.* can't be written: No such file"):
        logs.start_audit(str(tmp_path / "nowhere" / "audit"))
    with pytest.raises(ConfigurationError, match=r"log\.file"):
        logs.start_logging("INFO", LogSettings(file=str(tmp_path)))
    with pytest.raises(ConfigurationError, match="is not a log level; choose DEBUG"):
        logs.start_logging("LOUD", LogSettings())


async def test_tasks_have_their_own_context() -> None:
    async def work(number: int) -> Any:
        with log_context(request_id=number):
            await asyncio.sleep(0)
            return context_fields()["request_id"]

    assert await asyncio.gather(*map(work, range(10))) == list(range(10))
