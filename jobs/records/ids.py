"""Creates and validates ids. Only ids of this form reach a Redis key or a path."""

import re
import secrets

__all__ = ["is_file_id", "is_job_id", "new_file_id", "new_job_id", "new_token"]

_FILE = re.compile(r"file-[A-Za-z0-9]{8,64}")
_JOB = re.compile(r"batch_[A-Za-z0-9]{8,64}")


def new_file_id() -> str:
    """Return an id such as `file-3f…` that can't be guessed."""
    return f"file-{secrets.token_hex(16)}"


def new_job_id() -> str:
    """Return an id such as `batch_9a…` that can't be guessed."""
    return f"batch_{secrets.token_hex(16)}"


def new_token() -> str:
    """Return a fencing token. It is random, so that a Redis that lost its last second can't give one out twice."""
    return secrets.token_hex(8)


def is_file_id(text: str) -> bool:
    """Whether `text` has the form of a file id."""
    return bool(_FILE.fullmatch(text))


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of a job id."""
    return bool(_JOB.fullmatch(text))
