"""The format of an input line: OpenAI batch lines and shorthand."""

from dataclasses import dataclass
from typing import Any

import orjson

from balancer.providers.kinds import KINDS
from jobs.records import BadLine

__all__ = [
    "CHAT_PATH",
    "EMBEDDINGS_PATH",
    "MAX_LINE_BYTES",
    "PATHS",
    "InputLine",
    "LineRefused",
    "check_line",
    "expand_shorthand",
    "is_deep",
    "missing_field",
]

MAX_LINE_BYTES = 8 * 1024 * 1024
"""A longer line is refused, since a worker holds some dozens of them in memory."""
MAX_CUSTOM_ID = 512
"""Characters of a custom_id."""
MAX_DEPTH = 200
"""Levels of a line's JSON: orjson reads 1,024 of them, but writes no more than 254."""
CHAT_PATH = "/v1/chat/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
PATHS = tuple(f"/v1{path}" for path in KINDS)
"""The API paths that a line may ask for."""
SHOWN_FIELDS = 8
_SHORTHAND = ("prompt", "messages", "input")


@dataclass(frozen=True, slots=True)
class InputLine:
    """One request of a job, checked."""

    custom_id: str
    path: str
    models: tuple[str, ...]
    body: dict[str, Any]


class LineRefused(ValueError):
    """A line can't be used. `bad` says why, without the line's content."""

    def __init__(self, bad: BadLine) -> None:
        self.bad = bad
        super().__init__(bad.message)


def parse_json(raw: bytes, number: int) -> Any:
    """Parse one line of JSON. Raises LineRefused with the column."""
    try:
        entry = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise _refused("invalid_json_line", f"is not UTF-8 (byte {wrong.start + 1}); save the file as UTF-8", number) from exc
        raise _refused("invalid_json_line", f"is not valid JSON: {exc.msg} (column {exc.colno})", number) from exc
    # Only a line with that many brackets needs a closer look.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and is_deep(entry):
        raise _refused("invalid_value", f"is nested more than {MAX_DEPTH} levels deep", number)
    return entry


def is_deep(entry: Any) -> bool:
    """Whether JSON is nested deeper than what can be written again."""
    level = [entry]
    for _ in range(MAX_DEPTH):
        nested = [value for value in level if isinstance(value, dict | list)]
        level = [inner for value in nested for inner in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)


def check_line(entry: Any, number: int) -> InputLine:
    """Check one parsed line of OpenAI's batch format. `number` counts from 1. Raises LineRefused."""
    if not isinstance(entry, dict):
        raise _refused("invalid_json_line", "must be a JSON object", number)
    custom_id = entry.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        problem = "is missing" if custom_id is None else "must be a string that is not empty"
        raise _refused("missing_required_parameter", f"`custom_id` {problem}", number, "custom_id")
    if len(custom_id) > MAX_CUSTOM_ID:
        raise _refused("invalid_value", f"`custom_id` is longer than {MAX_CUSTOM_ID} characters", number, "custom_id")
    if entry.get("method") != "POST":
        raise _refused("invalid_method", '`method` must be "POST"', number, "method")
    path = entry.get("url")
    if path not in PATHS:
        raise _refused("invalid_url", f"`url` must be {' or '.join(PATHS)}", number, "url")
    return InputLine(custom_id, path, _check_body(entry.get("body"), path, number), entry["body"])


def _check_body(body: Any, path: str, number: int) -> tuple[str, ...]:
    """Check a request and return the models that it names, "" alone if it names none."""
    if not isinstance(body, dict):
        problem = "is missing" if body is None else "must be a JSON object"
        raise _refused("missing_required_parameter", f"`body` {problem}", number, "body")
    if path == CHAT_PATH:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            problem = "must be a list of messages that is not empty"
            raise _refused("invalid_value", f"`body.messages` {problem}", number, "body.messages")
    elif missing := missing_field(path, body):
        raise _refused("missing_required_parameter", f"`body.{missing}` is missing or empty", number, f"body.{missing}")
    if body.get("stream"):
        raise _refused("invalid_value", "`body.stream` can't be true in a batch", number, "body.stream")
    model = body.get("model", "")
    if not isinstance(model, str):
        raise _refused("invalid_value", "`body.model` must be a string", number, "body.model")
    more = body.get("models") or []
    if not isinstance(more, list) or not all(isinstance(name, str) for name in more):
        raise _refused("invalid_value", "`body.models` must be a list of strings", number, "body.models")
    return tuple(name for name in (model, *more) if name) or ("",)


def missing_field(path: str, body: dict[str, Any]) -> str | None:
    """Return the first field that a request to `path` has to have and lacks, None if it has all."""
    kind = KINDS[path.removeprefix("/v1")]
    if kind.instead and all(body.get(name) for name in kind.instead):
        return None
    return next((name for name in kind.required if not body.get(name)), None)


def expand_shorthand(entry: Any, number: int) -> Any:
    """Make a whole line of `{"prompt": ...}`, `{"messages": [...]}` or, for embeddings, `{"input": ...}`; other lines are
    returned as they are.

    Every other field of a shorthand line is a field of the request. A missing custom_id becomes `line-N`. Raises LineRefused.
    """
    if not isinstance(entry, dict) or "body" in entry:
        return entry
    if not any(name in entry for name in _SHORTHAND):
        if "url" in entry or "method" in entry:
            return entry
        found = ", ".join(list(entry)[:SHOWN_FIELDS]) or "no field"
        problem = (
            f"has none of `prompt`, `messages` and `input` (found: {found}); rows of a table need --prompt 'Say ... {{column}}'"
        )
        raise _refused("missing_required_parameter", problem, number, "prompt")
    body = {name: value for name, value in entry.items() if name not in ("custom_id", "method", "url")}
    if entry.get("url", CHAT_PATH) == CHAT_PATH and "prompt" in body:
        del body["prompt"]
        if not isinstance(entry["prompt"], str) or "messages" in entry:
            problem = "must be a string" if "messages" not in entry else "and `messages` exclude each other"
            raise _refused("invalid_value", f"`prompt` {problem}", number, "prompt")
        body["messages"] = [{"role": "user", "content": entry["prompt"]}]
    custom_id = entry.get("custom_id", f"line-{number}")
    return {
        "custom_id": custom_id,
        "method": entry.get("method", "POST"),
        "url": entry.get("url", EMBEDDINGS_PATH if "input" in body else CHAT_PATH),
        "body": body,
    }


def _refused(code: str, problem: str, number: int, param: str | None = None) -> LineRefused:
    return LineRefused(BadLine(code, f"line {number}: {problem}", number, param))
