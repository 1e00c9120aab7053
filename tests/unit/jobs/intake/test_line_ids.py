"""Lines are found by their ids without reading the input."""

from pathlib import Path

import pytest

from jobs.intake import line_ids, uniqueness
from jobs.intake.checker import Form, Intake
from jobs.intake.line_ids import find_line
from jobs.records import FileRecord
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore

LINES = 3000


class CountingStore(ObjectStore):
    """Counts the bytes that are read."""

    read = 0

    async def read_range(self, path: str, start: int, end: int) -> bytes:
        content = await super().read_range(path, start, end)
        type(self).read += len(content)
        return content


async def kept(store: ObjectStore, content: bytes) -> FileRecord:
    with Intake(Form.SHORTHAND) as intake:
        taken = intake.feed(content) + intake.finish()
        result = intake.result()
        assert result.errors == ()
        await store.write(object_store.content_path("file-x"), taken)
        await store.write(object_store.index_path("file-x"), result.index)
        await store.write(object_store.ids_path("file-x"), b"".join(intake.ids()))
    return FileRecord("file-x", "in.jsonl", "batch", len(taken), 0, lines=result.lines)


@pytest.mark.parametrize("in_memory", [100, 10**6])
@pytest.mark.parametrize("window", [2, 64, 2048])
async def test_each_line_is_found_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int, window: int
) -> None:
    monkeypatch.setattr(uniqueness, "IN_MEMORY", in_memory)
    monkeypatch.setattr(line_ids, "WINDOW", window)
    store = CountingStore.open(str(tmp_path))
    blank = b"\n\n"  # blank lines have no number
    content = blank.join(b'{"custom_id":"r-%d","prompt":"x%d"}' % (number, number) for number in range(LINES))
    file = await kept(store, content)
    for number in (0, 1, 2, 63, 64, 65, 1000, LINES - 2, LINES - 1):
        assert await find_line(store, file, f"r-{number}") == number
    for unknown in ("r-3000", "", "R-1", "r-1 ", "é"):
        assert await find_line(store, file, unknown) is None


async def test_little_is_read_of_a_large_input(tmp_path: Path) -> None:
    store = CountingStore.open(str(tmp_path))
    lines = 50_000
    file = await kept(store, b"\n".join(b'{"custom_id":"r-%d","prompt":"%s"}' % (n, b"x" * 80) for n in range(lines)))
    CountingStore.read = 0
    assert await find_line(store, file, "r-31234") == 31234
    assert CountingStore.read < 0.02 * file.size


async def test_ids_with_the_same_beginning_of_their_digests_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_ids, "digest_of", lambda key: b"same    ")
    monkeypatch.setattr(uniqueness, "digest_of", lambda key: b"same    " + key.rjust(8))
    store = ObjectStore.open(str(tmp_path))
    file = await kept(store, b"\n".join(b'{"custom_id":"r-%d","prompt":"x"}' % number for number in range(10)))
    assert [await find_line(store, file, f"r-{number}") for number in (0, 5, 9, 10)] == [0, 5, 9, None]
