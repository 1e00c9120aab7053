"""Records of files."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from jobs.records.fields import Fields, number_or_none, text_or_empty

__all__ = ["BadLine", "FileRecord"]


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why an input can't be used. `line` counts from 1; None where the whole file is meant."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape that OpenAI's batch object lists under `errors.data`."""
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line}


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An uploaded or produced file. Times are seconds since the epoch. `lines` counts requests, None if it is no input.

    `models` has each model that the input names with the first line that names it ("" for lines without a model); likewise
    `paths` has each API path, and `media` each kind of link to a medium (see jobs.intake.media_urls.Source). `errors` has what
    the check found. `owner` is the id of an API key, "" where there was none. With `ordered` there is an order of its lines in
    which those that begin alike are neighbours. `repeats` counts the lines whose request is the same as that of an earlier one
    and has the same answer (see jobs.intake.repeats).
    """

    id: str
    filename: str
    purpose: str
    size: int
    created_at: int
    expires_at: int | None = None
    lines: int | None = None
    models: dict[str, int] = field(default_factory=dict)
    paths: dict[str, int] = field(default_factory=dict)
    errors: tuple[BadLine, ...] = ()
    owner: str = ""
    ordered: bool = False
    repeats: int = 0
    media: dict[str, int] = field(default_factory=dict)

    def to_fields(self) -> Fields:
        """Return the record as a Redis hash."""
        return {
            "filename": self.filename,
            "purpose": self.purpose,
            "size": str(self.size),
            "created_at": str(self.created_at),
            "expires_at": text_or_empty(self.expires_at),
            "lines": text_or_empty(self.lines),
            "models": orjson.dumps(self.models).decode(),
            "paths": orjson.dumps(self.paths).decode(),
            "media": orjson.dumps(self.media).decode(),
            "errors": orjson.dumps([e.as_dict() for e in self.errors]).decode(),
            "owner": self.owner,
            "ordered": str(int(self.ordered)),
            "repeats": str(self.repeats),
        }

    @classmethod
    def from_fields(cls, file_id: str, fields: Fields) -> "FileRecord":
        """Make the record from a Redis hash."""
        return cls(
            id=file_id,
            filename=fields["filename"],
            purpose=fields["purpose"],
            size=int(fields["size"]),
            created_at=int(fields["created_at"]),
            expires_at=number_or_none(fields.get("expires_at")),
            lines=number_or_none(fields.get("lines")),
            models=orjson.loads(fields.get("models") or "{}"),
            paths=orjson.loads(fields.get("paths") or "{}"),
            media=orjson.loads(fields.get("media") or "{}"),
            errors=tuple(BadLine(**entry) for entry in orjson.loads(fields.get("errors") or "[]")),
            owner=fields.get("owner", ""),
            ordered=fields.get("ordered") == "1",
            repeats=int(fields.get("repeats") or 0),
        )
