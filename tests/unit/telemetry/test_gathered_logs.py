"""Lines of logs that are written together at the end of a turn of the event loop."""

import asyncio
import io
import logging
import threading
from pathlib import Path

import pytest

from api_roadbalancer.telemetry.gathered_logs import GatheringFileHandler, GatheringHandler


class CountedStream(io.StringIO):
    """Counts writes; raises for them while it is `full`."""

    writes = 0
    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError("no space left")
        self.writes += 1
        return super().write(text)


@pytest.fixture
def log() -> logging.Logger:
    made = logging.Logger("gathered")
    made.setLevel(logging.INFO)
    return made


@pytest.fixture
def stream(log: logging.Logger) -> CountedStream:
    made = CountedStream()
    log.addHandler(GatheringHandler(made))
    return made


async def test_lines_of_a_turn_are_written_at_once(log: logging.Logger, stream: CountedStream) -> None:
    for number in range(3):
        log.info("line %d", number)
    assert stream.writes == 0
    await asyncio.sleep(0)
    assert (stream.writes, stream.getvalue()) == (1, "line 0\nline 1\nline 2\n")
    log.info("later")
    await asyncio.sleep(0)
    assert stream.getvalue().endswith("line 2\nlater\n")


async def test_a_warning_is_written_at_once_behind_what_came_before(log: logging.Logger, stream: CountedStream) -> None:
    log.info("before")
    log.warning("warned")
    assert stream.getvalue() == "before\nwarned\n"
    await asyncio.sleep(0)
    assert stream.getvalue() == "before\nwarned\n"


def test_without_an_event_loop_each_line_is_written_at_once(log: logging.Logger, stream: CountedStream) -> None:
    log.info("one")
    assert stream.getvalue() == "one\n"


def test_a_loop_that_ends_with_lines_held_keeps_no_later_ones_back(log: logging.Logger, stream: CountedStream) -> None:
    ended = asyncio.new_event_loop()
    asyncio._set_running_loop(ended)
    log.info("one")
    asyncio._set_running_loop(None)
    ended.close()

    async def later() -> None:
        log.info("two")
        await asyncio.sleep(0)

    asyncio.run(later())
    assert stream.getvalue() == "one\ntwo\n"


async def test_another_thread_writes_what_is_held_too(log: logging.Logger, stream: CountedStream) -> None:
    log.info("first")
    thread = threading.Thread(target=log.info, args=("second",))
    thread.start()
    thread.join()
    assert stream.getvalue() == "first\nsecond\n"


async def test_what_is_held_is_written_when_the_process_ends(log: logging.Logger, stream: CountedStream) -> None:
    log.info("last")
    log.handlers[0].flush()  # as logging.shutdown does
    assert stream.getvalue() == "last\n"


async def test_a_failure_is_reported_as_loggings_own_are(
    log: logging.Logger, stream: CountedStream, capsys: pytest.CaptureFixture[str]
) -> None:
    stream.full = True
    log.info("lost")
    await asyncio.sleep(0)
    assert "no space left" in capsys.readouterr().err
    stream.full = False
    log.info("%d", "no number")
    assert "TypeError" in capsys.readouterr().err
    log.info("kept")
    await asyncio.sleep(0)
    assert stream.getvalue().endswith("kept\n")


async def test_a_file_that_was_moved_is_opened_again(log: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "log"
    handler = GatheringFileHandler(path, encoding="utf-8")
    log.addHandler(handler)
    log.info("one")
    log.info("two")
    await asyncio.sleep(0)
    path.rename(tmp_path / "log.1")
    log.info("three")
    await asyncio.sleep(0)
    handler.close()
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"
