"""Validates the answers of a job, and builds the request that is sent again after an invalid one (pure)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs
import orjson

from jobs.checks.python_checks import check_name, problem_with
from jobs.errors import InvalidRequest

__all__ = ["Checks", "Fault", "checks_of", "parse_checks"]

MAX_BYTES = 64 * 1024
"""Of all checks of a job together, as JSON: they stand in its record."""
MAX_CHECKS = 20
MAX_ATTEMPTS = 10
DEFAULT_ATTEMPTS = 2
LONGEST_FAULT = 300
LIMITS = ("max_completion_tokens", "max_tokens")
MOST_TOKENS = 1_000_000
LENGTH = "length"

Choice = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an answer is rejected: the name of the check and a message. `cut`: the answer was truncated at its token limit."""

    check: str
    message: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of a job, in order. After an answer that fails one, the request is sent again up to `attempts` times: with
    `feedback` the rejected answer and the reason are added to its messages, and `model` replaces its model ("": the same)."""

    checks: tuple[Callable[[Choice], Fault | None], ...]
    attempts: int = DEFAULT_ATTEMPTS
    feedback: bool = False
    model: str = ""

    def fault(self, body: Mapping[str, Any] | None) -> Fault | None:
        """Return the first check that one of the answer's choices fails, None if all choices pass."""
        for choice in _choices(body):
            for check in self.checks:
                if fault := check(choice):
                    return fault
        return None

    def asked_again(self, body: Mapping[str, Any], answer: Mapping[str, Any] | None, fault: Fault) -> Mapping[str, Any]:
        """Return the request to send next: with twice the token limit if the answer was truncated, else with the reason added."""
        if fault.cut:
            return {**body, **{name: min(MOST_TOKENS, 2 * body[name]) for name in LIMITS if isinstance(body.get(name), int)}}
        text = _text(_choices(answer)[0])
        if not self.feedback:
            return body
        feedback = [
            {"role": "assistant", "content": text or "(nothing)"},
            {"role": "user", "content": f"This answer can't be used: {fault.message}. Answer the request again."},
        ]
        return {**body, "messages": [*body["messages"], *feedback]}


def parse_checks(checks: Sequence[Any], recheck: Mapping[str, Any] | None = None) -> str:
    """Return checks and their retry settings as stored with a job (JSON); "" without any check.

    A check is a name, or an object with one name and its value: `{"schema": {...}}`, `{"finish_reason": "stop"}`, `"not_empty"`,
    `{"regex": "..."}`, `{"max_chars": 200}`, `{"python": "module:function"}`. `recheck` has `attempts`, `feedback` and `model`.
    Raises InvalidRequest.
    """
    if not checks:
        if recheck:
            raise InvalidRequest("recheck goes with checks", "recheck")
        return ""
    kept = orjson.dumps([list(checks), dict(recheck or {})]).decode()
    if len(kept) > MAX_BYTES:
        raise InvalidRequest(f"checks may have {MAX_BYTES // 1024} KB", "checks")
    checks_of(kept)
    return kept


@lru_cache(maxsize=256)
def checks_of(kept: str) -> Checks:
    """Return the checks that `parse_checks` has made JSON of."""
    checks, recheck = orjson.loads(kept)
    if len(checks) > MAX_CHECKS:
        raise InvalidRequest(f"a job may have {MAX_CHECKS} checks", "checks")
    if unknown := sorted(set(recheck) - {"attempts", "feedback", "model"}):
        raise InvalidRequest(f"recheck has no {unknown[0]!r}; there are attempts, feedback and model", "recheck")
    attempts, feedback, model = (
        recheck.get("attempts", DEFAULT_ATTEMPTS),
        recheck.get("feedback", False),
        recheck.get("model") or "",
    )
    if type(attempts) is not int or not 0 <= attempts <= MAX_ATTEMPTS:
        raise InvalidRequest(f"recheck.attempts must be a whole number from 0 to {MAX_ATTEMPTS}", "recheck")
    if not isinstance(feedback, bool) or not isinstance(model, str):
        raise InvalidRequest("recheck.feedback must be true or false, and recheck.model a model's name", "recheck")
    return Checks(tuple(map(_check, checks)), attempts, feedback, model)


def _check(given: Any) -> Callable[[Choice], Fault | None]:
    name, value = (given, True) if isinstance(given, str) else next(iter(given.items())) if _is_pair(given) else ("", None)
    maker = _MAKERS.get(name)
    if maker is None:
        raise InvalidRequest(f"a check is one of {', '.join(_MAKERS)}, alone or with its value (got {given!r:.100})", "checks")
    return maker(value)


def _is_pair(given: Any) -> bool:
    return isinstance(given, dict) and len(given) == 1


def _schema(schema: Any) -> Callable[[Choice], Fault | None]:
    validator = _validator(schema, "schema")

    def check(choice: Choice) -> Fault | None:
        try:
            value = orjson.loads(_text(choice))
        except orjson.JSONDecodeError as exc:
            return _fault("schema", f"it is not JSON ({exc.msg}, character {exc.pos + 1})", choice)
        error = next(iter(validator.iter_errors(value)), None)
        if error is None:
            return None
        place = "/".join(map(str, error.instance_path))
        return _fault("schema", f"it does not match the schema: {f'{place}: ' if place else ''}{error.message}", choice)

    return check


def _finish_reason(wanted: Any) -> Callable[[Choice], Fault | None]:
    if not isinstance(wanted, str):
        raise InvalidRequest("finish_reason must be a text, such as stop", "checks")

    def check(choice: Choice) -> Fault | None:
        reason = choice.get("finish_reason")
        return None if reason == wanted else _fault("finish_reason", f"it ended with {reason!r}, not {wanted!r}", choice)

    return check


def _not_empty(value: Any) -> Callable[[Choice], Fault | None]:
    if value is not True:
        raise InvalidRequest("not_empty has no value but true", "checks")

    def check(choice: Choice) -> Fault | None:
        if _text(choice).strip() or _message(choice).get("tool_calls"):
            return None
        return _fault("not_empty", "it is empty", choice)

    return check


def _regex(pattern: Any) -> Callable[[Choice], Fault | None]:
    # The schema library limits backtracking; Python's `re` does not.
    validator = _validator({"type": "string", "pattern": pattern}, "regex")

    def check(choice: Choice) -> Fault | None:
        return None if validator.is_valid(_text(choice)) else _fault("regex", f"it does not match {pattern}", choice)

    return check


def _max_chars(most: Any) -> Callable[[Choice], Fault | None]:
    if type(most) is not int or most < 1:
        raise InvalidRequest("max_chars must be a whole number, 1 or more", "checks")

    def check(choice: Choice) -> Fault | None:
        length = len(_text(choice))
        return None if length <= most else _fault("max_chars", f"it has {length:,} characters, and may have {most:,}", choice)

    return check


def _python(name: Any) -> Callable[[Choice], Fault | None]:
    function = check_name(name)

    def check(choice: Choice) -> Fault | None:
        problem = problem_with(function, _text(choice))
        return None if problem is None else _fault("python", problem, choice)

    return check


_MAKERS: dict[str, Callable[[Any], Callable[[Choice], Fault | None]]] = {
    "schema": _schema,
    "finish_reason": _finish_reason,
    "not_empty": _not_empty,
    "regex": _regex,
    "max_chars": _max_chars,
    "python": _python,
}


def _validator(schema: Any, name: str) -> Any:
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{name} must be a JSON schema (an object)", "checks")
    try:
        return jsonschema_rs.validator_for(schema, retriever=_nothing_else)
    except (ValueError, jsonschema_rs.ValidationError) as exc:
        raise InvalidRequest(f"{name} can't be used: {str(exc).splitlines()[0]}", "checks") from exc


def _nothing_else(uri: str) -> Any:
    raise ValueError(f"external references are not supported: {uri}")


def _fault(name: str, message: str, choice: Choice) -> Fault:
    return Fault(name, message[:LONGEST_FAULT], choice.get("finish_reason") == LENGTH)


def _choices(body: Any) -> Sequence[Choice]:
    """Return the choices of an answer, an empty one for each that is none, and at least one."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        return [{}]
    return [each if isinstance(each, dict) else {} for each in choices]


def _message(choice: Choice) -> Mapping[str, Any]:
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _text(choice: Choice) -> str:
    content = _message(choice).get("content")
    return content if isinstance(content, str) else ""
