"""The checks of a job on the wire (see jobs.checks)."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from jobs.checks.answer_checks import parse_checks
from jobs.errors import InvalidRequest

__all__ = ["CheckList", "Recheck", "kept_checks"]


class Recheck(BaseModel):
    """How a request is repeated whose answer fails the checks: at most `attempts` times; with `feedback` the rejected answer and
    the reason are added to its messages; `model` replaces its model."""

    model_config = ConfigDict(extra="forbid")

    attempts: Annotated[int, Field(strict=True, ge=0, le=10)] = 2
    feedback: bool = False
    model: str | None = None


CheckList = Annotated[list[str | dict[str, Any]], Field(max_length=20)]
"""What answers have to pass, in order: `"not_empty"`, or an object with one of `schema` (JSON schema of the answer's text),
`finish_reason`, `regex`, `max_chars` and its value. A request whose answer fails them is repeated, and its line fails in the
end."""


def kept_checks(checks: list[str | dict[str, Any]], recheck: Recheck | None) -> str:
    """Return checks as a job keeps them. Raises InvalidRequest, also for `python` checks, which HTTP does not accept."""
    if any(check == "python" or (isinstance(check, dict) and "python" in check) for check in checks):
        raise InvalidRequest("python is no check over HTTP: functions are for `roadbalancer run` and its like", "checks")
    return parse_checks(checks, recheck.model_dump() if recheck is not None else None)
