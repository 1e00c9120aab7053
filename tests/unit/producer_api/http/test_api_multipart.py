import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api.http.errors import ApiError
from producer_api.http.multipart import GATHER, UploadForm

BOUNDARY = "xyz"


def body_of(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, value in parts:
        label = f'; filename="{filename}"' if filename is not None else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{label}\r\n\r\n'.encode() + value + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


async def chunks(body: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    for size in sizes:
        chunk, body = body[:size], body[size:]
        yield chunk
    if body:
        yield body


async def read(body: bytes, sizes: list[int], most: int = 10**9) -> tuple[UploadForm, list[bytes]]:
    form = UploadForm(f'multipart/form-data; boundary="{BOUNDARY}"', chunks(body, sizes), most)
    assert await form.find_file()
    return form, [chunk async for chunk in form.content()]


NASTY = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"\r\n--", b"\r\n--xy", b"xyz", b"a"])).map(b"".join)


@given(st.binary() | NASTY, st.lists(st.integers(0, 40), max_size=60), st.booleans())
def test_a_form_reads_the_same_however_it_is_cut(content: bytes, sizes: list[int], file_first: bool) -> None:
    if f"\r\n--{BOUNDARY}".encode() in b"\r\n" + content:
        return
    parts = [("file", "a.jsonl", content), ("purpose", None, b"batch")]
    form, found = asyncio.run(read(body_of(parts if file_first else parts[::-1]), sizes))
    assert b"".join(found) == content
    assert (form.fields, form.filename) == ({"purpose": "batch"}, "a.jsonl")


async def test_content_is_handed_on_in_gathered_chunks() -> None:
    content = b"x" * (5 * GATHER)
    _, found = await read(body_of([("file", "a", content)]), [1000] * 100_000)
    assert b"".join(found) == content
    assert all(GATHER <= len(chunk) < GATHER + 1000 for chunk in found[:-1])


async def test_a_file_over_the_limit_ends_the_reading() -> None:
    await read(body_of([("file", "a", b"x" * 100)]), [], most=100)
    with pytest.raises(ApiError) as refused:
        await read(body_of([("file", "a", b"x" * 101)]), [], most=100)
    assert refused.value.problem.status == 413


@pytest.mark.parametrize(
    ("given_name", "label"),
    [
        ("a.jsonl", "a.jsonl"),
        ("../../a", "a"),
        ("C:\\x\\a", "a"),
        ("dir/", "upload"),
        ("", "upload"),
        (None, "upload"),
        ("日本.jsonl", "日本.jsonl"),
        ("a\x00b\x7fc", "abc"),
        ("n" * 300, "n" * 255),
    ],
)
async def test_a_filename_becomes_a_label(given_name: str | None, label: str) -> None:
    form, _ = await read(body_of([("file", given_name, b"")]), [])
    assert form.filename == label
