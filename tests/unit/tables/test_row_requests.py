"""What a template makes of rows."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_roadbalancer.tables import RowRequests, Table, open_table, table_of
from jobs.errors import InvalidRequest

ROWS = '{"text": "Hello", "n": 1, "a.b": null}\n{"text": "안녕", "n": [2], "a.b": "x"}\n'


@pytest.fixture
def table(tmp_path: Path) -> Table:
    path = tmp_path / "rows.jsonl"
    path.write_text(ROWS)
    return open_table(path)


async def requests(made: RowRequests) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in b"".join([chunk async for chunk in made.chunks()])[:-1].split(b"\n")]


async def test_each_row_is_a_request(table: Table) -> None:
    made = await requests(RowRequests(table, "Say {text} {n} times: {{{a.b}}}", "You are {n}.", {"max_tokens": 40, "model": "m"}))
    assert [each["custom_id"] for each in made] == ["row-1", "row-2"]
    assert made[0]["url"] == "/v1/chat/completions"
    assert [each["body"]["messages"] for each in made] == [
        [{"role": "system", "content": "You are 1."}, {"role": "user", "content": "Say Hello 1 times: {}"}],
        [{"role": "system", "content": "You are [2]."}, {"role": "user", "content": "Say 안녕 [2] times: {x}"}],
    ]
    assert made[0]["body"]["max_tokens"] == 40 and made[0]["body"]["model"] == "m"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Say {txt}", r"--prompt names {txt}, which is no column of .*; there are: text, n, a.b"),
        ("Say {}", "braces hold a column's name and nothing else"),
        ("Say {text!r}", "braces hold a column's name and nothing else"),
        ("Say {n:>9}", "braces hold a column's name and nothing else"),
        ("Say {text", "write {{ and }} for braces themselves"),
        ("Say }", "write {{ and }} for braces themselves"),
    ],
)
def test_a_template_that_can_not_be_filled_is_refused_with_what_to_do(table: Table, prompt: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        RowRequests(table, prompt)


async def test_a_row_without_a_column_that_the_prompt_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"other": "b"}\n')
    with pytest.raises(InvalidRequest, match="row 2 has no 'text'"):
        await requests(RowRequests(open_table(path), "{text}"))


async def test_messages_may_stand_in_a_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    hello = [{"role": "user", "content": "Hello"}]
    path.write_bytes(orjson.dumps({"m": hello}) + b"\n" + orjson.dumps({"m": orjson.dumps(hello).decode()}) + b"\n")
    made = await requests(RowRequests(open_table(path), messages_column="m", system="Be brief."))
    system = {"role": "system", "content": "Be brief."}
    assert [each["body"]["messages"] for each in made] == [[system, *hello]] * 2
    path.write_text('{"m": "Hello"}\n')
    with pytest.raises(InvalidRequest, match="row 1: 'm' holds no list of messages"):
        await requests(RowRequests(open_table(path), messages_column="m"))


async def test_images_go_in_by_path_or_url(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    rows = [{"image": str(tmp_path / "a.jpg")}, {"image": "https://h/b.png"}, {"image": None}]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    made = await requests(RowRequests(open_table(path), "What is it?", image_column="image"))
    contents = [each["body"]["messages"][0]["content"] for each in made]
    assert [each[1]["image_url"]["url"] for each in contents[:2]] == ["data:image/jpeg;base64,anBlZw==", "https://h/b.png"]
    assert contents[0][0] == {"type": "text", "text": "What is it?"} and contents[2] == "What is it?"
    path.write_text('{"image": "no-such.png"}\n')
    with pytest.raises(InvalidRequest, match=r"row 1: the image no-such.png can't be read"):
        await requests(RowRequests(open_table(path), "What is it?", image_column="image"))
    (tmp_path / "large.png").write_bytes(bytes(6_000_000))
    path.write_bytes(orjson.dumps({"image": str(tmp_path / "large.png")}))
    with pytest.raises(InvalidRequest, match="is larger than 5 MB; give its URL"):
        await requests(RowRequests(open_table(path), "What is it?", image_column="image"))


TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('",\\[]{}%'), max_size=20)


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=5), before=TEXTS, system=TEXTS | st.none(), fields=st.dictionaries(TEXTS, TEXTS)
)
def test_whatever_stands_in_a_column_is_asked_as_it_is(
    texts: list[str], before: str, system: str | None, fields: dict[str, str]
) -> None:
    fields.pop("messages", None)
    escaped = before.replace("{", "{{").replace("}", "}}")
    said = None if system is None else system.replace("{", "{{").replace("}", "}}")
    in_memory, in_arrow = table_of([{"text": text} for text in texts]), table_of(pa.table({"text": texts}))
    for table in (in_memory, in_arrow):
        made = asyncio.run(requests(RowRequests(table, escaped + "{text}", said, fields)))
        assert [each["custom_id"] for each in made] == [f"row-{n}" for n in range(1, len(texts) + 1)]
        assert [each["body"]["messages"][-1]["content"] for each in made] == [before + text for text in texts]
        assert all(len(each["body"]["messages"]) == 1 + (system is not None) for each in made)
        assert all({name: each["body"][name] for name in fields} == fields for each in made)


def test_other_templates_or_fields_are_another_job(table: Table) -> None:
    digests = {
        RowRequests(table, "{text}").digest(),
        RowRequests(table, "{n}").digest(),
        RowRequests(table, "{text}", "").digest(),
        RowRequests(table, "{text}", None, {"max_tokens": 1}).digest(),
    }
    assert len(digests) == 4
    assert (
        RowRequests(table, "{text}", None, {"a": 1, "b": 2}).digest()
        == RowRequests(table, "{text}", None, {"b": 2, "a": 1}).digest()
    )
