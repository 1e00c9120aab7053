"""Reads the beginning of a file of requests, and names the format if it plainly is another one."""

import gzip
from pathlib import Path

from api_roadbalancer.user_files.local_files import open_plain
from jobs.errors import InvalidRequest

__all__ = ["check_requests"]

BEGINNING = 64 * 1024
"""Bytes that are read."""
_BINARY = {
    b"\x1f\x8b": ("gzip", "name it {name}.gz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "name it {name}.zst"),
    b"PK\x03\x04": ("an Excel workbook (or another zip file)", "name it {stem}.xlsx, and say what to ask with --prompt"),
    b"PAR1": ("Parquet", "name it {stem}.parquet, and say what to ask with --prompt"),
    b"ARROW1": ("Arrow", "name it {stem}.arrow, and say what to ask with --prompt"),
    b"%PDF": ("a PDF", "requests are JSON objects, one a line"),
}


def check_requests(path: Path) -> None:
    """Raise InvalidRequest if a file that should hold requests, a JSON object a line, holds another format."""
    try:
        with open_plain(path) as file:
            begin = file.read(BEGINNING)
    except (gzip.BadGzipFile, EOFError) as exc:
        raise InvalidRequest(f"{path} is no whole gzip file: {exc}") from exc
    found = _other_format(begin)
    if found is not None:
        what, remedy = found
        stem = path.name.removesuffix("".join(path.suffixes)) if path.suffixes else path.name
        raise InvalidRequest(f"{path} holds {what}, and not requests: {remedy.format(name=path.name, stem=stem)}")


def _other_format(begin: bytes) -> tuple[str, str] | None:
    for magic, found in _BINARY.items():
        if begin.startswith(magic):
            return found
    text = begin.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("["):
        return "a JSON array", "name it {stem}.json and say what to ask with --prompt, or write an object a line"
    if not text or text.startswith(("{", '"')) or "\0" in text:
        return None
    lines = text.splitlines()
    for separator, kind in ((",", "CSV"), ("\t", "TSV")):
        if separator in lines[0] and all(separator in line for line in lines[:3]):
            column = lines[0].split(separator)[0].strip().strip('"')
            return kind, f"name it {{stem}}.{kind.lower()}, and say what to ask: --prompt '... {{{{{column}}}}} ...'"
    return "lines of text", "name it {stem}.txt, and say what to ask: --prompt '{{text}}'"
