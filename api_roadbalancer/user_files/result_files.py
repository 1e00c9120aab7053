"""Where results may be written: never over the input, nor over a file that does not hold results of the same job."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from api_roadbalancer.user_files.local_files import errors_path, temporary_path
from jobs.errors import InvalidRequest
from jobs.results.formats import result_prefix

__all__ = ["check_place", "refuse_foreign"]


def check_place(out: Path, source: Path | None = None) -> None:
    """Make sure that an output and its errors file can be written, and that neither is the input `source`.

    Makes the folder. Raises InvalidRequest.
    """
    if out.is_dir():
        raise InvalidRequest(f"{out} is a folder; name a file with -o", "out")
    for path in (out, errors_path(out)):
        if source is not None and _same_file(path, source):
            raise InvalidRequest(f"the results would replace the input {source}; name another file with -o", "out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = temporary_path(out)
        probe.touch()
        probe.unlink()
        if out.exists():
            out.open("ab").close()
    except OSError as exc:
        raise InvalidRequest(f"{out} can't be written ({exc.strerror}); name another file with -o", "out") from exc


def refuse_foreign(out: Path, job_ids: Collection[str], force: bool = False) -> None:
    """Make sure that what stands at an output's place, or at its errors file's, is empty or holds results of one of the jobs.

    Raises InvalidRequest, except with `force`.
    """
    if force:
        return
    known = tuple(result_prefix(job_id) for job_id in job_ids)
    for path in (out, errors_path(out)):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            start = file.read(max(map(len, known), default=1))
            if start and not start.startswith(known):
                what = f"{path} exists and does not hold results of this job"
                raise InvalidRequest(f"{what}; name another file with -o, or replace it with --force", "out")


def _same_file(path: Path, other: Path) -> bool:
    """Whether both are one file, by whatever name or link."""
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()
