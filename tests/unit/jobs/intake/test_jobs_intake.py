"""Inputs as they stream by: every bad line is reported with its number, and the chunks they come in make no difference."""

import itertools
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.intake import checker as intake_module
from jobs.intake import uniqueness
from jobs.intake.checker import Form, Intake, IntakeResult
from jobs.intake.line_index import LINES_PER_ENTRY, read_lines
from jobs.intake.lines import CHAT_PATH, MAX_LINE_BYTES, LineRefused, check_line, expand_shorthand, parse_json
from jobs.intake.uniqueness import FirstUses

MESSAGES = [{"role": "user", "content": "hi"}]
BODY = {"model": "m", "messages": MESSAGES}


def entry(custom_id: object = "a", **changes: Any) -> dict[str, Any]:
    whole = {"custom_id": custom_id, "method": "POST", "url": CHAT_PATH, "body": BODY} | changes
    return {name: value for name, value in whole.items() if value is not ...}


def line(custom_id: object = "a", **changes: Any) -> bytes:
    return orjson.dumps(entry(custom_id, **changes))


def take_in(chunks: Sequence[bytes], form: Form = Form.BATCH) -> tuple[bytes, IntakeResult]:
    with Intake(form) as intake:
        kept = b"".join([intake.feed(chunk) for chunk in chunks]) + intake.finish()
        return kept, intake.result()


def reported(result: IntakeResult) -> list[tuple[str, int | None]]:
    return [(bad.code, bad.line) for bad in result.errors]


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"not json", "invalid_json_line", None),
        (b"{} {}", "invalid_json_line", None),
        (b'{"custom_id": "a",}', "invalid_json_line", None),
        (b"NaN", "invalid_json_line", None),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None),
        (b'{"custom_id": "\\ud800"}', "invalid_json_line", None),
        (b"\xef\xbb\xbf{}", "invalid_json_line", None),  # a byte order mark in the middle
        (b"[1]", "invalid_json_line", None),
        (b"null", "invalid_json_line", None),
        (b'"text"', "invalid_json_line", None),
        (line(...), "missing_required_parameter", "custom_id"),
        (line(None), "missing_required_parameter", "custom_id"),
        (line(""), "missing_required_parameter", "custom_id"),
        (line(7), "missing_required_parameter", "custom_id"),
        (line("x" * 513), "invalid_value", "custom_id"),
        (line(method=...), "invalid_method", "method"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url=...), "invalid_url", "url"),
        (line(url="/v1/images/generations"), "invalid_url", "url"),
        (line(url="/v1/embeddings"), "missing_required_parameter", "body.input"),
        (line(url="/v1/rerank", body={"query": "q", "documents": []}), "missing_required_parameter", "body.documents"),
        (line(url="/v1/score", body={"text_1": "a", "queries": "b"}), "missing_required_parameter", "body.text_2"),
        (line(url=["x"]), "invalid_url", "url"),
        (line(body=...), "missing_required_parameter", "body"),
        (line(body="x"), "missing_required_parameter", "body"),
        (line(body={"model": "m"}), "invalid_value", "body.messages"),
        (line(body={"messages": []}), "invalid_value", "body.messages"),
        (line(body={"messages": "hi"}), "invalid_value", "body.messages"),
        (line(body={"messages": ["hi"]}), "invalid_value", "body.messages"),
        (line(body={**BODY, "stream": True}), "invalid_value", "body.stream"),
        (line(body={**BODY, "model": 5}), "invalid_value", "body.model"),
        (line("first"), "duplicate_custom_id", "custom_id"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "invalid_value", None),  # could be read, but not written again
    ],
)
def test_a_bad_line_is_reported_with_its_number(bad: bytes, code: str, param: str | None) -> None:
    _, result = take_in([b"\n".join([line("first"), b"", bad, line("last")]) + b"\n"])
    assert reported(result) == [(code, 3)]
    assert (result.errors[0].param, result.lines) == (param, 3)
    assert "line 3" in result.errors[0].message


@pytest.mark.parametrize("secret", [b'{"custom_id": "prompt-text"', line("x", body={"messages": "prompt-text"})])
def test_no_error_quotes_the_line(secret: bytes) -> None:
    _, result = take_in([secret])
    assert "prompt-text" not in result.errors[0].message


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
@pytest.mark.parametrize("form", list(Form))
def test_a_file_without_requests_is_refused(content: bytes, form: Form) -> None:
    _, result = take_in([content], form)
    assert reported(result) == [("empty_file", None)]
    assert result.lines == 0


def test_a_good_file_is_kept_to_the_byte() -> None:
    content = b"\xef\xbb\xbf" + line("1") + b" \r\n\r\n  \n" + line("2") + b"\n" + line("3", body={"messages": MESSAGES})
    kept, result = take_in([content])
    assert kept == content
    assert (result.size, result.lines, result.errors) == (len(content), 3, ())
    assert result.models == {"m": 1, "": 5}
    assert result.paths == {CHAT_PATH: 1}


@pytest.mark.parametrize("chunk", [100_000, MAX_LINE_BYTES + 5000, 10**9])
def test_a_line_that_is_too_long_is_passed_over(chunk: int) -> None:
    long = line("long", body={"messages": [{"content": "x" * (MAX_LINE_BYTES + 10)}]})
    content = b"\n".join([line("1"), long, line("2"), b"oops"])
    _, result = take_in([content[i : i + chunk] for i in range(0, len(content), chunk)])
    assert reported(result) == [("line_too_long", 2), ("invalid_json_line", 4)]


@pytest.mark.parametrize("chunk", [1 << 20, 1 << 30])
@pytest.mark.parametrize(("extra", "codes"), [(0, []), (1, ["line_too_long"])])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
def test_the_longest_line_is_the_same_in_chunks(chunk: int, extra: int, codes: list[str], begin: bytes) -> None:
    frame = begin + line("a", body={"messages": [{"content": ""}]})
    content = frame.replace(b'""', b'"' + b"x" * (MAX_LINE_BYTES - len(frame) + extra) + b'"', 1)
    _, result = take_in([content[i : i + chunk] for i in range(0, len(content), chunk)])
    assert [bad.code for bad in result.errors] == codes


def test_only_so_many_errors_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_ERRORS", 5)
    _, result = take_in([b"oops\n" * 20])
    assert reported(result) == [("invalid_json_line", n) for n in range(1, 6)]


def test_only_so_many_models_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_MODELS", 3)
    content = b"\n".join(line(f"{n}", body={**BODY, "model": f"m{n % 9}"}) for n in range(20))
    assert take_in([content])[1].models == {"m0": 1, "m1": 2, "m2": 3}


# ---- shorthand ----


@pytest.mark.parametrize(
    ("given_line", "expected"),
    [
        ({"prompt": "hi"}, entry("line-4", body={"messages": MESSAGES})),
        (
            {"prompt": "hi", "custom_id": "x", "model": "m", "seed": 1},
            entry("x", body={"messages": MESSAGES, "model": "m", "seed": 1}),
        ),
        ({"messages": MESSAGES, "temperature": 0}, entry("line-4", body={"messages": MESSAGES, "temperature": 0})),
        ({"messages": MESSAGES, "url": "/v1/x"}, entry("line-4", url="/v1/x", body={"messages": MESSAGES})),
        (entry("whole"), entry("whole")),
        ("text", "text"),
    ],
)
def test_shorthand_stands_for_a_whole_line(given_line: Any, expected: Any) -> None:
    assert expand_shorthand(given_line, 4) == expected


@pytest.mark.parametrize("bad", [{"prompt": 5}, {"prompt": None}, {"prompt": "a", "messages": MESSAGES}, {"prompt": ["a"]}])
def test_bad_shorthand_is_refused(bad: Any) -> None:
    with pytest.raises(LineRefused) as refused:
        expand_shorthand(bad, 4)
    assert (refused.value.bad.param, refused.value.bad.line) == ("prompt", 4)


def test_shorthand_is_kept_as_batch_lines_without_blanks() -> None:
    content = b'\xef\xbb\xbf{"prompt": "hi"}\r\n\n  ' + line("b") + b'  \r\n{"messages": [{"role": "user", "content": "hi"}]}'
    kept, result = take_in([content], Form.SHORTHAND)
    lines = kept.splitlines()
    assert [orjson.loads(one)["custom_id"] for one in lines] == ["line-1", "b", "line-4"]
    assert lines[1] == line("b")
    assert (result.size, result.lines, result.errors) == (len(kept), 3, ())
    again, checked = take_in([kept])
    assert (again, checked.index, checked.errors) == (kept, result.index, ())


def test_batch_form_takes_no_shorthand() -> None:
    assert reported(take_in([b'{"prompt": "hi"}'])[1]) == [("missing_required_parameter", 1)]


# ---- chunks ----

PIECES = [
    line("1"),
    line("2"),
    line("1"),
    line("x", method="GET"),
    b'{"prompt": "p"}',
    b"oops",
    b"",
    b"  ",
    b"\r",
    b"\xef\xbb\xbf",
    b"\n",
    b"\r\n",
    b"\n",
    b"\n",
    "ü".encode(),
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=25),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    form=st.sampled_from(list(Form)),
)
def test_chunks_make_no_difference(pieces: list[bytes], cuts: list[int], form: Form) -> None:
    content = b"".join(pieces)
    places = sorted({min(cut, len(content)) for cut in cuts} | {0, len(content)})
    chunks = [content[a:b] for a, b in itertools.pairwise(places)]
    assert take_in(chunks, form) == take_in([content], form)
    assert take_in([content[i : i + 1] for i in range(len(content))], form) == take_in([content], form)


# ---- the index ----


class Memory:
    """A store of one file, in memory."""

    def __init__(self, content: bytes, index: bytes) -> None:
        self.content, self.index = content, index

    async def read_range(self, path: str, start: int, end: int) -> bytes:
        assert path.endswith("index") and 0 <= start < end <= len(self.index)
        return self.index[start:end]

    async def stream(self, path: str, start: int, end: int) -> Any:
        assert 0 <= start <= end <= len(self.content)
        for at in range(start, end, 50):
            yield self.content[at : min(end, at + 50)]


def spaced(count: int, breaks: Sequence[bytes]) -> bytes:
    return b"".join(line(f"c{n}") + breaks[n % len(breaks)] for n in range(count))


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 200])
@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize(
    "content",
    [
        lambda count: spaced(count, [b"\n"]),
        lambda count: spaced(count, [b"\n"])[:-1],
        lambda count: b"\xef\xbb\xbf" + spaced(count, [b"\r\n", b"\n \n"]),
        lambda count: b"\xef\xbb\xbf\n\n" + spaced(count, [b"\n\n\n", b"\r\n", b"  \n\t\n"]) + b"\n\n",
    ],
    ids=["plain", "no last break", "bom", "blanks"],
)
async def test_any_range_of_lines_is_read_by_the_index(count: int, form: Form, content: Any) -> None:
    kept, result = take_in([content(count)], form)
    assert (result.lines, result.errors) == (count, ())
    assert len(result.index) == 8 * (-(-count // LINES_PER_ENTRY) + 1)
    store: Any = Memory(kept, result.index)
    ranges = [(0, count), (count - 1, count), (0, 1), (count // 2, count), (count // 3, count // 2 + 1)]
    ranges += [(first, min(count, first + 64)) for first in range(0, count, 61)]
    for first, end in ranges:
        read = [(number, orjson.loads(raw)["custom_id"]) async for number, raw in read_lines(store, "f", first, end)]
        assert read == [(n, f"c{n}") for n in range(first, end)]


async def test_an_empty_range_has_no_lines() -> None:
    kept, result = take_in([spaced(130, [b"\n"])])
    store: Any = Memory(kept, result.index)
    assert [one async for one in read_lines(store, "f", 64, 64)] == []


# ---- names ----


@pytest.mark.parametrize("in_memory", [1, 2, 7, 50, 10**6])
@pytest.mark.parametrize("buffer", [24, 24 * 3, 32 * 1024])
def test_duplicates_are_found_wherever_they_lie(monkeypatch: pytest.MonkeyPatch, in_memory: int, buffer: int) -> None:
    monkeypatch.setattr(uniqueness, "IN_MEMORY", in_memory)
    monkeypatch.setattr(uniqueness, "BUFFER", buffer)
    names = [f"n{i}" for i in range(60)] + ["n0", "n59", "new", "n3", "n3"]
    with FirstUses() as uses:
        found = [(n, first) for n, name in enumerate(names, 1) if (first := uses.add(name.encode(), n)) is not None]
        found += uses.repeats()
    assert sorted(found) == [(61, 1), (62, 60), (64, 4), (65, 4)]


def test_the_first_hundred_duplicates_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "IN_MEMORY", 2)
    _, result = take_in([b"\n".join(line("same") for _ in range(150))])
    assert [error.line for error in result.errors] == list(range(2, 102))


def test_a_duplicate_on_the_disk_fails_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uniqueness, "IN_MEMORY", 3)
    _, result = take_in([b"\n".join(line(f"{n % 8}") for n in range(10))])
    assert reported(result) == [("duplicate_custom_id", 9), ("duplicate_custom_id", 10)]
    assert "first used on line 1" in result.errors[0].message


# ---- single lines ----


def test_a_checked_line_is_the_request() -> None:
    checked = check_line(entry("a", odd=1), 1)
    assert (checked.custom_id, checked.path, checked.models, checked.body) == ("a", CHAT_PATH, ("m",), BODY)


@pytest.mark.parametrize("stream", [False, None, 0])
def test_stream_may_be_off(stream: object) -> None:
    assert check_line(entry("a", body={**BODY, "stream": stream}), 1).models == ("m",)


def test_an_error_in_the_json_names_the_column() -> None:
    with pytest.raises(LineRefused, match="column 9"):
        parse_json(b'{"a": 1 2}', 1)


def test_the_place_of_a_wrong_byte_is_named() -> None:
    with pytest.raises(LineRefused, match="byte 3"):
        parse_json(b'{"\xff', 1)
