"""The first round of a job in which the same request is sent once: each line that repeats it gets its result."""

from collections.abc import AsyncIterator

from jobs.ids import new_token
from jobs.intake.line_index import line_ranges, read_lines
from jobs.intake.line_order import read_entries
from jobs.intake.lines import parse_json
from jobs.intake.repeats import FirstLines, RepeatedRequests
from jobs.records import DistinctRound, FileRecord
from jobs.rounds.order_file import OrderFile
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore

__all__ = ["begin_distinct_round", "delete_round"]


async def begin_distinct_round(
    store: ObjectStore, job_id: str, file: FileRecord, dedupe: bool | None, ordered: bool
) -> DistinctRound | None:
    """Write the first round of a job whose input repeats requests; None if it does not.

    `dedupe` is whether repeats are looked for: in all requests, in none, or (None) in those that are repeatable. With `ordered`,
    lines go in the order of the input file, if it has one.
    """
    path = await _first_lines(store, file, dedupe)
    if path is None:
        return None
    folder = object_store.round_folder(job_id, f"1-{new_token()[:8]}")
    ranges = _ordered(store, file) if ordered and file.ordered else line_ranges(store, file.id)
    try:
        with await FirstLines.load(store, path) as first_lines, OrderFile(len(first_lines)) as order:
            async for number, length, offset in ranges:
                if (first := first_lines[number]) == number:
                    order.add(number, length, offset)
                else:
                    order.add_repeat(first)
            await store.write_stream(object_store.round_order_path(folder), order.chunks())
            return DistinctRound(folder, path, order.lines, order.repeats, order.bytes)
    except BaseException:
        await delete_round(store, folder)
        raise


async def delete_round(store: ObjectStore, folder: str) -> None:
    """Delete a round that has not begun."""
    await store.delete(object_store.kept_path(folder), object_store.round_order_path(folder))


async def _first_lines(store: ObjectStore, file: FileRecord, dedupe: bool | None) -> str | None:
    """Return where the array of first lines is; None if no request is repeated that counts."""
    if not dedupe:
        return object_store.first_lines_path(file.id) if dedupe is None and file.repeats else None
    path = object_store.first_lines_path(file.id, everything=True)
    with RepeatedRequests(everything=True) as repeated:
        async for number, raw in read_lines(store, file.id, 0, file.lines or 0):
            line = parse_json(raw, number)
            repeated.add(line["url"], line["body"])
        chunks = repeated.chunks()
        if not (first := next(chunks, b"")):
            return None

        async def written() -> AsyncIterator[bytes]:
            yield first
            for chunk in chunks:
                yield chunk

        await store.write_stream(path, written())
    return path


async def _ordered(store: ObjectStore, file: FileRecord) -> AsyncIterator[tuple[int, int, int]]:
    async for number, length, offset, _ in read_entries(store, object_store.order_path(file.id), file.lines or 0):
        yield number, length, offset
