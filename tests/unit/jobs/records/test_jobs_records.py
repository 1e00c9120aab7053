"""Records, ids and the small decisions of the service."""

import pytest

from jobs.errors import InvalidRequest
from jobs.records import BadLine, FileRecord, Job, Ledger, Shard
from jobs.records.ids import is_file_id, is_job_id, new_file_id, new_job_id, new_token
from jobs.records.states import FINAL, JobStatus
from jobs.results.formats import error_line, line_number, request_id
from jobs.service import parse_window


def test_a_file_record_survives_redis() -> None:
    record = FileRecord(
        "file-1",
        "ü.jsonl",
        "batch",
        5,
        6,
        7,
        8,
        {"m": 1, "": 2},
        {"/v1/x": 1},
        (BadLine("c", "m", 3, "p"), BadLine("d", "n")),
        media={"https": 3},
    )
    assert FileRecord.from_fields("file-1", record.to_fields()) == record
    plain = FileRecord("file-1", "x", "user_data", 5, 6)
    assert FileRecord.from_fields("file-1", plain.to_fields()) == plain


def test_a_job_is_read_from_few_fields() -> None:
    fields = {
        "status": "in_progress",
        "file": "f",
        "path": "/v1/x",
        "window": "24h",
        "total": "5",
        "completed": "2",
        "at:a b": "2",
    }
    job = Job.from_fields("batch_1", fields)
    assert (job.ledger, job.shares, job.is_final, job.times) == (Ledger(5, 2, 0), {"a b": 2}, False, {})


def test_final_states_are_those_that_never_change() -> None:
    assert {JobStatus.FAILED, JobStatus.COMPLETED, JobStatus.EXPIRED, JobStatus.CANCELLED} == FINAL


@pytest.mark.parametrize(
    ("ledger", "balances"), [(Ledger(5, 2, 1, 1, 1), True), (Ledger(5, 2, 1, 1, 0), False), (Ledger(5, 5, 1), False)]
)
def test_a_ledger_balances_or_not(ledger: Ledger, balances: bool) -> None:
    assert ledger.balances is balances


def test_a_shard_has_its_lines_and_shows_no_token() -> None:
    shard = Shard("batch_1", 10, 15, "GPU 1", "secret-token")
    assert (shard.lines, str(shard)) == (5, "batch_1 lines 11-15 at GPU 1")


def test_new_ids_have_the_form_that_is_asked_for() -> None:
    assert is_file_id(new_file_id()) and is_job_id(new_job_id())
    assert len({new_token() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text", ["", "file-", "file-../../etc", "file-a b c d e f", "batch_12345678\n", "file-12345678\n", "x" * 200]
)
def test_odd_ids_reach_no_key_and_no_path(text: str) -> None:
    assert not is_file_id(text) and not is_job_id(text)


@pytest.mark.parametrize(("window", "seconds"), [("24h", 86400.0), ("30m", 1800.0), ("90s", 90.0), ("7d", 604800.0)])
def test_windows(window: str, seconds: float) -> None:
    assert parse_window(window) == seconds


@pytest.mark.parametrize("window", ["", "24", "h", "0h", "-1h", "1.5h", "1w", "24 h", "24h\n", "9999999d", "٣h"])
def test_windows_that_cannot_be_meant(window: str) -> None:
    with pytest.raises(InvalidRequest, match="completion_window"):
        parse_window(window)


@pytest.mark.parametrize("number", [0, 7, 999_999_999, 1_234_567_890])
def test_the_number_of_a_line_is_read_back_from_its_result(number: int) -> None:
    job_id = new_job_id()
    line = error_line(job_id, number, 'a"b', "code", "message")
    assert line_number(job_id, line) == number
    assert request_id(job_id, number) == request_id(job_id, number)
