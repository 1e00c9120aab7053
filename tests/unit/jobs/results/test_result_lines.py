"""Lines of result files."""

import json

import orjson
import pytest

from balancer.outcome import Outcome
from jobs.results.formats import answer_line, error_line, line_number, one_line, repeated_line
from jobs.results.history import LineHistory

JOB_ID = "batch_0123456789abcdef"


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


@pytest.mark.parametrize("custom_id", ["a", 'quote","response":', "é\u2028"])
def test_a_repeat_has_the_answer_of_the_other_line_under_its_own_name(custom_id: str) -> None:
    history = LineHistory(attempts=3).with_failed("m", 1.0, "server_error", '"cost":1,"attempts":9,"error":')
    body = b'{"usage": {"cost": 3},  "n": 1.0, "big": 123456789012345678901234567890}'
    outcome = Outcome("m", latency=0.1, body=body, status=200, cost=0.5)
    line = repeated_line(JOB_ID, answer_line(JOB_ID, 4, custom_id, outcome, history, ("m", "other")), 7, "mine" + custom_id)
    assert line_number(JOB_ID, line) == 7 and body in line, "the endpoint's body stays to the byte"
    entry = json.loads(line)
    assert (entry["custom_id"], entry["attempts"], entry["cost"], entry["repeats_line"]) == ("mine" + custom_id, 0, 0.0, 5)
    assert entry["endpoint"] == "m" and len(line.decode().splitlines()) == 1


def test_a_repeat_of_a_line_that_failed_names_its_own_line() -> None:
    history = LineHistory(attempts=3).with_failed("m", 1.0, "server_error", '"line":1,"attempts":9,"error":')
    entry = json.loads(repeated_line(JOB_ID, error_line(JOB_ID, 4, "a", "code", "why", history), 7, "b"))
    assert (entry["custom_id"], entry["line"], entry["error"]) == ("b", 8, {"code": "code", "message": "why"})
    assert (entry["attempts"], entry["repeats_line"], entry["response"]) == (0, 5, None)
    assert entry["failed_attempts"] == history.to_fields()["failed_attempts"] and "cost" not in entry
