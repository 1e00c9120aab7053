"""Texts within lines of results."""

import json
from typing import Any

import pytest

from jobs.results.search import TextSearch


def line(content: Any, answer: Any = "yes", *, ascii_only: bool = False, **fields: Any) -> bytes:
    entry = {
        "id": "batch_req_needle",
        "custom_id": "row-7",
        "response": {
            "status_code": 200,
            "body": {"model": "needle-model", "choices": [{"message": {"role": "needle", "content": answer}}]},
        },
        "error": None,
        "request": {"model": "needle-model", "messages": [{"role": "user", "content": content}]},
        **fields,
    }
    return json.dumps(entry, ensure_ascii=ascii_only).encode()


PARTS = [{"type": "text", "text": "the needle"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,stack"}}]
DEEP = json.loads("[" * 900 + '"needle"' + "]" * 900)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize(
    ("wanted", "content", "answer", "found"),
    [
        ("needle", "a Needle in it", "no", True),
        ("NEEDLE", "no", "a needle", True),
        ("needle", "no", "no", False),
        ("row-7", "no", "no", True),
        ("straße", "STRASSE", "no", True),
        ("한국어", "no", "한국어 답변", True),
        ("한국어", "no", "한국", False),
        ('say "yes"', 'Say "yes" now', "no", True),
        ("one\ntwo", "no", "one\ntwo", True),
        ("one\\ntwo", "no", "one\ntwo", False),
        ("a/b", "no", "a/b", True),
        ("needle", PARTS, "no", True),
        ("stack", PARTS, "no", False),
        ("needle", DEEP, "no", True),
        ("messages", "no", "no", False),
        ("status_code", "no", "no", False),
    ],
)
def test_a_text_is_found_in_prompts_and_answers(wanted: str, content: Any, answer: str, found: bool, ascii_only: bool) -> None:
    assert TextSearch(wanted).is_in(line(content, answer, ascii_only=ascii_only)) is found


@pytest.mark.parametrize("slash", [b"a/b", b"a\\/b", b"a\\u002fb"])
def test_a_text_is_found_however_it_is_escaped(slash: bytes) -> None:
    assert TextSearch("A/B").is_in(line("_").replace(b'"_"', b'"%b"' % slash))


def test_a_text_is_found_in_errors() -> None:
    failed = line("no", response=None, error={"code": "timeout", "message": "No Answer in 600 s"})
    assert TextSearch("no answer").is_in(failed) and not TextSearch("yes").is_in(failed)
