"""A line is found in a file of results without reading it through."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.results import seeking
from jobs.results.formats import error_line
from jobs.results.seeking import results_offset
from jobs.storage.object_store import ObjectStore

JOB_ID = "batch_0123456789abcdef"


@settings(max_examples=25)  # each reads a real store some hundred times
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 300)), max_size=12),
    st.sampled_from([16, 100, 1000, 10**6]),
    st.sampled_from([b"", b"1"]),
)
async def test_the_first_line_from_a_number_on_is_found(gaps: list[tuple[int, int]], block: int, mark: bytes) -> None:
    numbers, content, begins = [], b"", []
    for gap, length in gaps:
        numbers.append((numbers[-1] if numbers else -1) + gap)
        begins.append(len(content))
        content += mark + error_line(JOB_ID, numbers[-1], "r", "code", "x" * length) + b"\n"
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(seeking, "BLOCK", block)
        store = ObjectStore.open(str(Path(folder) / "store"))
        await store.write("results", content)
        for wanted in range((numbers[-1] if numbers else 0) + 2):
            expected = next((begin for number, begin in zip(numbers, begins, strict=True) if number >= wanted), len(content))
            assert await results_offset(store, "results", len(content), JOB_ID, wanted, len(mark)) == expected


async def test_little_is_read_of_a_large_file(tmp_path: Path) -> None:
    read = 0

    class CountingStore(ObjectStore):
        async def read_range(self, path: str, start: int, end: int) -> bytes:
            nonlocal read
            content = await super().read_range(path, start, end)
            read += len(content)
            return content

    content = b"".join(error_line(JOB_ID, number, "r", "code", "x" * 400) + b"\n" for number in range(20_000))
    store = CountingStore.open(str(tmp_path / "store"))
    await store.write("results", content)
    offset = await results_offset(store, "results", len(content), JOB_ID, 12_345)
    assert content[offset:].startswith(error_line(JOB_ID, 12_345, "r", "code", "x" * 400))
    assert read < 0.1 * len(content)
