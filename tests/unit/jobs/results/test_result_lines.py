"""Lines of result files."""

import json

import orjson
import pytest

from jobs.results.formats import error_line, one_line


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\u2029"])
def test_no_reader_takes_a_line_for_two(separator: str) -> None:
    text = f"a{separator}b “quoted” é"
    line = one_line(orjson.dumps({"content": text, "key" + separator: 1}))
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == {"content": text, "key" + separator: 1}
    assert len(error_line("batch_1", 0, text, "code", text).decode().splitlines()) == 1


def test_a_line_without_them_stays_as_it_is() -> None:
    line = orjson.dumps({"content": "“quoted” …\u2027\u202a"})
    assert one_line(line) is line or one_line(line) == line
