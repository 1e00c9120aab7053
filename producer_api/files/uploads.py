"""Parses the form of an upload, in whatever order its fields come."""

from collections.abc import Mapping
from dataclasses import replace

from jobs.access import ANONYMOUS, Caller
from jobs.intake.checker import Form
from jobs.intake.files import BATCH_PURPOSE, Files, Upload
from jobs.records import FileRecord
from producer_api.files.wire import LONGEST_TTL, PURPOSES, SHORTEST_TTL
from producer_api.http.errors import ApiError, Problem
from producer_api.http.multipart import UploadForm

__all__ = ["take_upload"]


async def take_upload(files: Files, form: UploadForm, caller: Caller = ANONYMOUS) -> FileRecord:
    """Store the file of `form` for `caller`.

    A batch's input, and one whose purpose is not known yet, is checked as it streams. Raises ApiError, Refused and what
    the store raises; each leaves nothing behind.
    """
    if not await form.find_file():
        raise _refused("send the file as a part named `file`", "file", "missing_required_parameter")
    purpose = _purpose(form.fields)
    content_form = Form.BATCH if purpose in (None, BATCH_PURPOSE) else None
    upload = Upload(form.filename, purpose or BATCH_PURPOSE, form=content_form, owner=caller.id, limits=caller.limits)
    return await files.add(upload, form.content(), lambda begun: _with_fields(begun, form.fields))


def _with_fields(upload: Upload, fields: Mapping[str, str]) -> Upload:
    """Return the upload as its fields want it, now that all of them are there."""
    purpose = _purpose(fields)
    if purpose is None:
        message = f"say what the file is for: purpose must be one of {', '.join(PURPOSES)}"
        raise _refused(message, "purpose", "missing_required_parameter")
    return replace(upload, purpose=purpose, ttl=_ttl(fields), form=upload.form if purpose == BATCH_PURPOSE else None)


def _purpose(fields: Mapping[str, str]) -> str | None:
    purpose = fields.get("purpose")
    if purpose is not None and purpose not in PURPOSES:
        raise _refused(f"purpose must be one of {', '.join(PURPOSES)}", "purpose")
    return purpose


def _ttl(fields: Mapping[str, str]) -> int | None:
    """Return the seconds until the file expires, None where the client leaves that to us."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise _refused("expires_after[anchor] must be created_at", "expires_after[anchor]")
    if seconds is None or not (seconds.isascii() and seconds.isdecimal() and SHORTEST_TTL <= int(seconds[:10]) <= LONGEST_TTL):
        message = f"expires_after[seconds] must be a number from {SHORTEST_TTL} to {LONGEST_TTL}"
        raise _refused(message, "expires_after[seconds]")
    return int(seconds)


def _refused(message: str, param: str, code: str = "invalid_value") -> ApiError:
    return ApiError(Problem(400, message, param=param, code=code))
