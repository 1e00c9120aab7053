"""Where an input comes from: a file, standard input, or an object in a bucket."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from api_roadbalancer.tables import is_pattern
from jobs.errors import InvalidRequest
from jobs.storage.object_store import ObjectStore, ObjectStoreError, store_problem

__all__ = ["STDIN", "input_file", "is_elsewhere"]

STDIN = "-"


def is_elsewhere(source: str) -> bool:
    """Whether an input is no file: standard input, or a URL such as `s3://bucket/in.jsonl`."""
    return source == STDIN or "://" in source


@contextmanager
def input_file(source: str, has_output: bool) -> Iterator[Path]:
    """Yield the file of an input; other inputs are copied to a temporary file. Raises InvalidRequest."""
    if not is_elsewhere(source):
        path = Path(source)
        if not path.exists() and not is_pattern(path):
            raise InvalidRequest(f"there is no file {source}")
        yield path
        return
    if not has_output:
        what = (
            "standard input has no name to call the results by"
            if source == STDIN
            else f"{source} is no file beside which results could stand"
        )
        raise InvalidRequest(f"{what}; name their file with -o")
    suffixes = "".join(PurePosixPath(urlsplit(source).path).suffixes) if source != STDIN else ".jsonl"
    with tempfile.NamedTemporaryFile(suffix=suffixes) as file:
        if source == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, file)
        else:
            asyncio.run(_download(source, Path(file.name)))
        file.flush()
        yield Path(file.name)


async def _download(url: str, path: Path) -> None:
    place, _, name = url.rpartition("/")
    try:
        with path.open("wb") as file:
            async for chunk in ObjectStore.open(place).stream(name):
                file.write(chunk)
    except FileNotFoundError as exc:
        raise InvalidRequest(f"there is no object {url}") from exc
    except (ObjectStoreError, ValueError) as exc:
        raise InvalidRequest(f"{url} can't be read: {store_problem(exc)}") from exc
