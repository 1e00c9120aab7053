"""Finds a line in a file of results, whose lines are in the order of their numbers, without reading it through."""

from jobs.results.formats import line_number
from jobs.storage.object_store import ObjectStore

__all__ = ["results_offset"]

BLOCK = 64 * 1024
"""Bytes that are read at once."""
LONGEST_ID = 128
"""Bytes at the beginning of a line that hold its number."""


async def results_offset(store: ObjectStore, path: str, size: int, job_id: str, number: int, mark: int = 0) -> int:
    """Return the byte at which the results of lines from `number` (from 0) on begin in a file of `size` bytes; `size` if there
    are none. `mark` bytes stand before each line. Reads some log2(size / BLOCK) blocks."""
    low, high, answer = 0, size, size  # the line that is looked for begins in low..high, or at `answer`
    while high - low > BLOCK:
        middle = (low + high) // 2
        begin = await _line_after(store, path, middle, high)
        if begin is not None and await _number_at(store, path, begin + mark, job_id, size) < number:
            low = begin
            continue
        if begin is not None:
            answer = begin
        high = middle
    content = await store.read_range(path, low, min(size, high + mark + LONGEST_ID))
    begin = 0
    while begin < high - low:
        if line_number(job_id, content[begin + mark : begin + mark + LONGEST_ID]) >= number:
            return low + begin
        begin = content.find(b"\n", begin) + 1 or len(content)
    return answer


async def _line_after(store: ObjectStore, path: str, start: int, end: int) -> int | None:
    """Return the byte of the first line that begins at `start` or behind it, and before `end`."""
    position = start - 1
    while position < end:
        content = await store.read_range(path, position, min(end, position + BLOCK))
        if (found := content.find(b"\n")) >= 0:
            begin = position + found + 1
            return begin if begin < end else None
        position += len(content)
    return None


async def _number_at(store: ObjectStore, path: str, begin: int, job_id: str, size: int) -> int:
    return line_number(job_id, await store.read_range(path, begin, min(size, begin + LONGEST_ID)))
