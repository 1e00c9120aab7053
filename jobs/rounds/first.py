"""The first round of a job in which not all lines are sent in their order.

The same request is sent once, and each line that repeats it gets its result. The lines of a canary are sent before the others.
"""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack

from jobs.intake.line_index import line_ranges, read_lines
from jobs.intake.line_order import read_entries
from jobs.intake.lines import parse_json
from jobs.intake.repeats import FirstLines, RepeatedRequests
from jobs.intake.requests import Canary, JobRequest
from jobs.records import FileRecord, FirstRound
from jobs.records.ids import new_token
from jobs.rounds.order_file import OrderFile
from jobs.storage import object_store
from jobs.storage.object_store import ObjectStore

__all__ = ["begin_first_round", "delete_round"]


async def begin_first_round(store: ObjectStore, job_id: str, file: FileRecord, request: JobRequest) -> FirstRound | None:
    """Write the first round of a job; None if all its lines are sent, in the order of the input or of its file."""
    path = await _first_lines(store, file, request.dedupe)
    canary = _canary(request.canary, file.lines or 0, job_id)
    ordered = request.order == "auto" and file.ordered
    if path is None and (canary is None or (isinstance(canary, range) and not ordered)):
        return FirstRound("", "", file.lines or 0, 0, file.size, len(canary)) if canary else None
    folder = object_store.round_folder(job_id, f"1-{new_token()[:8]}")
    ranges = _ordered(store, file) if ordered else line_ranges(store, file.id)
    try:
        with ExitStack() as stack:
            firsts = stack.enter_context(await FirstLines.load(store, path)) if path else range(file.lines or 0)
            leading = {firsts[number] for number in canary or ()}
            order = stack.enter_context(OrderFile(len(firsts) if path else 0))
            async for number, length, offset in ranges:
                if (first := firsts[number]) == number:
                    order.add(number, length, offset, leads=number in leading)
                else:
                    order.add_repeat(first)
            await store.write_stream(object_store.round_order_path(folder), order.chunks())
            return FirstRound(folder, path or "", order.lines, order.repeats, order.bytes, len(leading))
    except BaseException:
        await delete_round(store, folder)
        raise


def _canary(canary: Canary | None, lines: int, job_id: str) -> Sequence[int] | None:
    """Return the numbers of the canary's lines."""
    if canary is None:
        return None
    count = min(canary.lines, lines)
    return random.Random(job_id).sample(range(lines), count) if canary.random else range(count)


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
