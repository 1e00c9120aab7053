"""The lines of output and error files, in OpenAI's format."""

from typing import Any

import orjson

from balancer.outcome import FailureKind, Outcome
from jobs.results.history import NO_HISTORY, LineHistory

__all__ = [
    "answer_line",
    "error_line",
    "line_number",
    "number_in",
    "one_line",
    "repeated_line",
    "request_id",
    "result_prefix",
    "with_request",
]


def request_id(job_id: str, number: int) -> str:
    """Return the id of a line's result, the same whenever it is made."""
    return f"batch_req_{job_id.removeprefix('batch_')[:16]}{number:09d}"


def result_prefix(job_id: str) -> bytes:
    """Return how each line of a job's output and error file begins."""
    return b'{"id":"' + request_id(job_id, 0)[:-9].encode()


def line_number(job_id: str, line: bytes) -> int:
    """Read the number back from a line of a job's output or error file; `id` stands first in it."""
    start = len(result_prefix(job_id))
    return int(line[start : line.index(b'"', start)])


def number_in(line: bytes) -> int:
    """Read the same from a line of whichever job of a server, whose ids are all of one length."""
    start = len(result_prefix(f"batch_{'0' * 16}"))
    return int(line[start : line.index(b'"', start)])


def one_line(line: bytes) -> bytes:
    """Escape what some readers take for the end of a line (U+0085, U+2028, U+2029), as Python's `str.splitlines` does. In JSON it
    can stand within strings only."""
    if line.isascii():
        return line
    if b"\xe2\x80" in line:
        line = line.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return line.replace(b"\xc2\x85", b"\\u0085") if b"\xc2\x85" in line else line


def error_line(job_id: str, number: int, custom_id: str, code: str, message: str, history: LineHistory = NO_HISTORY) -> bytes:
    """Make the error file's line for a request that has no answer (OpenAI's shape: `response` null, `error` set)."""
    line = orjson.dumps(
        {
            "id": request_id(job_id, number),
            "custom_id": custom_id,
            "response": None,
            "error": {"code": code, "message": message},
            "line": number + 1,
            **history.to_fields(),
        }
    )
    return one_line(line)


def repeated_line(job_id: str, result: bytes, number: int, custom_id: str) -> bytes:
    """Make the result of line `number` of that of another line with the same request, which `repeats_line` names."""
    response, more = result.index(b',"response":'), result.rindex(b',"error":')  # no key can stand within a string of JSON
    fields = orjson.loads(b"{" + result[more + 1 :])
    fields |= {"attempts": 0, "repeats_line": line_number(job_id, result) + 1}
    fields |= {name: value for name, value in (("cost", 0.0), ("line", number + 1)) if name in fields}
    head = b'{"id":"%b","custom_id":%b' % (request_id(job_id, number).encode(), orjson.dumps(custom_id))
    return one_line(head + result[response:more] + b"," + orjson.dumps(fields)[1:])


def with_request(result: bytes, line: bytes) -> bytes:
    """Add the body of an input line to its result, as `request`."""
    return one_line(b'%b,"request":%b}' % (result[:-1], orjson.dumps(orjson.loads(line)["body"])))


def error_code(line: bytes) -> str:
    """Return the code of a failed line's result: that of the error, or what the endpoint's answer calls it."""
    entry: dict[str, Any] = orjson.loads(line)
    if error := entry.get("error"):
        return str(error.get("code"))
    response = entry.get("response") or {}
    body = response.get("body")
    error = body.get("error") if isinstance(body, dict) else None
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return str(code or response.get("status_code"))


def answer_line(
    job_id: str,
    number: int,
    custom_id: str,
    outcome: Outcome,
    history: LineHistory = NO_HISTORY,
    hedge: tuple[str, str] | None = None,
    cached: bool = False,
) -> bytes:
    """Make an output line around the endpoint's own body, which is put in unchanged; beside it stand the endpoint, the number of
    requests sent for the line and its cost (USD, null where the price is not known). If the answer is a refusal, or fails a check
    of the job, the line also has the failed attempts, as an error line does. `hedge` names the endpoint whose answer it is and
    the slower one, where the request was sent to two. `cached`: it is the answer to the same request of another job.
    """
    identifier = request_id(job_id, number)
    error: dict[str, object] | None = None
    if outcome.failure is not None and outcome.failure.kind is FailureKind.CHECK_FAILED:
        error = {"code": outcome.failure.kind, "message": outcome.failure.message}
    more: dict[str, object] = {"error": error, "endpoint": outcome.endpoint, "attempts": history.attempts, "cost": outcome.cost}
    if outcome.failure is not None:
        more = {**more, "line": number + 1, "failed_attempts": history.to_fields()["failed_attempts"]}
    if cached:
        more["cached"] = True
    if hedge is not None:
        more["hedge"] = {"won": hedge[0], "lost": hedge[1]}
    return one_line(
        b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},%b'
        % (
            identifier.encode(),
            orjson.dumps(custom_id),
            outcome.status or 0,
            orjson.dumps(outcome.request_id or identifier),
            outcome.body,
            orjson.dumps(more)[1:],
        )
    )
