"""Input lines of a known size."""

from pathlib import Path

import orjson
import pytest

from bench.lines import InputFile, custom_id
from jobs.intake.checker import Form, Intake


@pytest.mark.parametrize("lines", [1, 2_621, 2_622])  # 2,621 lines of 400 bytes are one block
def test_an_input_has_exactly_the_lines_and_bytes_that_were_asked_for(lines: int, tmp_path: Path) -> None:
    source = InputFile(lines, 400)
    content = source.write(tmp_path / "in.jsonl").read_bytes()
    assert len(content) == source.size == lines * 400
    entries = [orjson.loads(line) for line in content.splitlines()]
    assert [entry["custom_id"] for entry in entries] == [custom_id(number) for number in range(lines)]
    assert [entry["body"]["user"] for entry in entries] == [entry["custom_id"] for entry in entries]


def test_an_input_passes_the_check_of_uploads() -> None:
    with Intake(Form.BATCH) as intake:
        for block in InputFile(100, 240).blocks():
            intake.feed(block)
        intake.finish()
        result = intake.result()
    assert (result.lines, result.errors) == (100, ())


async def test_the_stream_has_the_same_blocks() -> None:
    source = InputFile(3_000, 400)
    assert [block async for block in source.stream()] == list(source.blocks())


def test_a_line_that_can_not_be_so_short_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes or more, not 100"):
        list(InputFile(1, 100).blocks())
