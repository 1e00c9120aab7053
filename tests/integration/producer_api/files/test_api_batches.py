"""Batches, through the official client."""

import asyncio

import httpx
import openai
import orjson
import pytest
import redis as sync_redis
from live_server import Hands, batch_line, batch_lines, create_batch, error_of, open_for_work, upload

from jobs.node import Node
from jobs.records import Ledger
from jobs.storage.durability import MARK

CHAT = "/v1/chat/completions"


def open_batch(sdk: openai.OpenAI, content: bytes, **fields: object) -> openai.types.Batch:
    file = sdk.files.create(file=("in.jsonl", content), purpose="batch")
    return sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **fields)  # type: ignore[arg-type]


def test_a_batch_is_created_looked_up_and_cancelled(sdk: openai.OpenAI) -> None:
    batch = open_batch(sdk, batch_lines(3), metadata={"team": "blue"})
    assert (batch.status, batch.endpoint, batch.model, batch.metadata) == ("in_progress", CHAT, "m", {"team": "blue"})
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.errors) == (3, 0, None)
    assert (batch.expires_at or 0) - batch.created_at == 86400
    assert sdk.batches.retrieve(batch.id) == batch
    assert sdk.batches.cancel(batch.id).status in ("cancelling", "cancelled")

    ended = sdk.batches.retrieve(batch.id)
    assert (ended.status, ended.output_file_id) == ("cancelled", None)
    assert ended.cancelled_at is not None
    assert ended.error_file_id is not None
    rows = [orjson.loads(line) for line in sdk.files.content(ended.error_file_id).read().splitlines()]
    assert [(row["custom_id"], row["response"], row["error"]["code"]) for row in rows] == [
        (f"c{n}", None, "batch_cancelled") for n in range(3)
    ]
    assert sdk.files.retrieve(ended.error_file_id).purpose == "batch_output"
    assert sdk.batches.cancel(batch.id) == ended


def test_every_field_of_a_batch_is_there_though_it_is_unset(http: httpx.Client) -> None:
    batch = create_batch(http, upload(http, batch_lines(1))["id"])
    assert set(batch) == set(openai.types.Batch.model_fields)
    unset = {name for name, value in batch.items() if value is None}
    assert unset == {
        "errors", "output_file_id", "error_file_id", "finalizing_at", "completed_at", "failed_at", "expired_at",
        "cancelling_at", "cancelled_at", "metadata",
    }  # fmt: skip
    zero = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    assert batch["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, **zero}


async def test_a_completed_batch_has_its_files_counts_and_usage(http: httpx.Client, sdk: openai.OpenAI, node: Node) -> None:
    await open_for_work(node)
    expiry = {"anchor": "created_at", "seconds": 3600}
    batch = await asyncio.to_thread(open_batch, sdk, batch_lines(6), output_expires_after=expiry)
    hands = Hands(node, batch.id)
    await hands.finish([0, 1, 2, 5], failed=[3, 4])
    await hands.end()
    ended = await asyncio.to_thread(sdk.batches.retrieve, batch.id)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert ended.request_counts.model_dump() == {"total": 6, "completed": 4, "failed": 2}
    assert ended.usage is not None
    assert (ended.usage.input_tokens, ended.usage.output_tokens, ended.usage.total_tokens) == (60, 30, 90)
    assert (ended.usage.input_tokens_details.cached_tokens, ended.usage.output_tokens_details.reasoning_tokens) == (12, 6)
    assert ended.output_file_id is not None
    output = await asyncio.to_thread(sdk.files.retrieve, ended.output_file_id)
    assert (output.expires_at or 0) - output.created_at == 3600
    lines = (await asyncio.to_thread(sdk.files.content, output.id)).read().splitlines()
    assert [orjson.loads(line)["custom_id"] for line in lines] == ["c0", "c1", "c2", "c5"]


def test_batches_are_listed_newest_first_in_pages(sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("in.jsonl", batch_lines(1)), purpose="batch")
    ids = [sdk.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h").id for _ in range(5)]
    assert [b.id for b in sdk.batches.list(limit=2)] == ids[::-1]
    page = sdk.batches.list(limit=3, after=ids[4])
    assert ([b.id for b in page.data], page.has_more) == (ids[3:0:-1], True)
    assert sdk.batches.list(after=ids[0]).data == []


@pytest.mark.parametrize(("query", "status", "param"), [
    ("limit=0", 400, "limit"), ("limit=101", 400, "limit"), ("limit=x", 400, "limit"), ("after=batch_unknown1", 404, "id"),
])  # fmt: skip
def test_a_list_that_can_not_be_meant_is_refused(http: httpx.Client, query: str, status: int, param: str) -> None:
    response = http.get(f"/v1/batches?{query}")
    assert (response.status_code, error_of(response)["param"]) == (status, param)


GOOD = batch_line("good")

BAD_INPUTS = {
    "malformed JSON": (GOOD + b'{"custom_id": \n', [("invalid_json_line", 2)]),
    "no object": (GOOD + b"[1]\n", [("invalid_json_line", 2)]),
    "no custom_id": (GOOD + batch_line("x").replace(b'"custom_id": "x", ', b""), [("missing_required_parameter", 2)]),
    "a custom_id twice": (GOOD + b"\n" + GOOD, [("duplicate_custom_id", 3)]),
    "another path": (GOOD + batch_line("a", url="/v1/images/generations"), [("invalid_url", 2)]),
    "another method": (GOOD + batch_line("a", method="GET"), [("invalid_method", 2)]),
    "a stream": (GOOD + batch_line("a", body={"messages": [{}], "stream": True}), [("invalid_value", 2)]),
    "no messages": (GOOD + batch_line("a", body={"model": "m"}), [("invalid_value", 2)]),
    "nothing": (b"", [("empty_file", None)]),
    "blank lines": (b"\n\r\n \n", [("empty_file", None)]),
    "a line of 10 MB": (GOOD + batch_line("x" * 10_000_000) + b"{\n", [("line_too_long", 2), ("invalid_json_line", 3)]),
    "a last line of 10 MB": (GOOD + b"x" * 10_000_000, [("line_too_long", 2)]),
    "no UTF-8": (GOOD + batch_line("a").replace(b"hi", b"\xff\xfe"), [("invalid_json_line", 2)]),
    "half a surrogate pair": (GOOD + batch_line("a").replace(b"hi", b"\\ud800"), [("invalid_json_line", 2)]),
    "too many levels": (GOOD + batch_line("a").replace(b'"hi"', b"[" * 250 + b"]" * 250), [("invalid_value", 2)]),
    "an unknown model": (GOOD + batch_line("a", model="gpt-unknown"), [("model_not_found", 2)]),
    "several": (b"{\n" + GOOD + b"]\n" + GOOD, [("invalid_json_line", 1), ("invalid_json_line", 3), ("duplicate_custom_id", 4)]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_a_bad_input_makes_a_failed_batch_that_names_the_lines(
    sdk: openai.OpenAI, content: bytes, expected: list[tuple[str, int | None]]
) -> None:
    batch = open_batch(sdk, content)
    assert (batch.status, batch.output_file_id, batch.in_progress_at) == ("failed", None, None)
    assert batch.failed_at is not None
    assert batch.errors is not None
    assert [(error.code, error.line) for error in batch.errors.data or []] == expected
    assert sdk.batches.cancel(batch.id) == batch


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + batch_lines(2),  # a byte order mark
        batch_lines(2).replace(b"\n", b"\r\n"),
        batch_lines(2).rstrip(b"\n"),
        b"\n" + batch_lines(2).replace(b"\n", b"\n\n"),
        batch_line("é☃𝄞", model="org/long-name") + batch_line("b"),
    ],
)
def test_an_input_of_another_editor_is_as_good(sdk: openai.OpenAI, content: bytes) -> None:
    batch = open_batch(sdk, content)
    assert batch.status == "in_progress"
    assert batch.request_counts is not None
    assert batch.request_counts.total == 2


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input_file_id": "file-unknown1"}, "input_file_id", "file_not_found"),
        ({"input_file_id": "../../etc/passwd"}, "input_file_id", "file_not_found"),
        ({"input_file_id": "file-\x00aaaaaaaa"}, "input_file_id", "file_not_found"),
        ({"input_file_id": "f" * 100_000}, "input_file_id", "file_not_found"),
        ({"input_file_id": None}, "input_file_id", "invalid_value"),
        ({"endpoint": "/v1/images/generations"}, "endpoint", "invalid_value"),
        ({"completion_window": "soon"}, "completion_window", None),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", None),
        ({"metadata": {"k" * 65: "x"}}, "metadata", None),
        ({"metadata": {"k": "x" * 513}}, "metadata", None),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after.seconds", "invalid_value"),
        ({"output_expires_after": {"seconds": 3600}}, "output_expires_after.anchor", "missing_required_parameter"),
        ({"priority": 1000}, "priority", None),
        ({"colour": "red"}, "colour", "unknown_parameter"),
    ],
)
def test_a_request_that_can_not_be_meant_is_refused(
    http: httpx.Client, changes: dict[str, object], param: str, code: str | None
) -> None:
    good = {"input_file_id": upload(http, GOOD)["id"], "endpoint": CHAT, "completion_window": "24h"}
    response = http.post("/v1/batches", json=good | changes)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert len(error["message"]) < 1100
    assert http.get("/v1/batches").json()["data"] == []


@pytest.mark.parametrize(
    "batch_id", ["batch_unknown1", "%2e%2e", "..%5c..", "batch_%00aaaaaaaa", "batch_" + "a" * 5000, "file-aaaaaaaa"]
)
def test_ids_that_are_none_are_not_found(http: httpx.Client, batch_id: str) -> None:
    assert error_of(http.get(f"/v1/batches/{batch_id}"))["code"] == "not_found"
    cancelled = http.post(f"/v1/batches/{batch_id}/cancel")
    assert (cancelled.status_code, error_of(cancelled)["code"]) == (404, "not_found")


def test_the_client_takes_its_errors_for_what_they_are(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.batches.create(input_file_id="file-unknown1", endpoint=CHAT, completion_window="24h")
    assert (refused.value.param, refused.value.code, refused.value.type) == (
        "input_file_id", "file_not_found", "invalid_request_error",
    )  # fmt: skip
    with pytest.raises(openai.NotFoundError):
        sdk.batches.retrieve("batch_unknown1")


def test_paths_stand_without_the_version_too(http: httpx.Client) -> None:
    file = http.post("/files", data={"purpose": "batch"}, files={"file": ("a.jsonl", GOOD)}).json()
    assert http.get(f"/files/{file['id']}").json() == file
    batch = http.post("/batches", json={"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}).json()
    assert http.get("/batches").json()["data"] == [batch]
    assert http.post(f"/batches/{batch['id']}/cancel").json()["id"] == batch["id"]


async def test_a_job_takes_the_same_room_in_redis_whatever_its_length(http: httpx.Client, redis_url: str, node: Node) -> None:
    sizes = []
    for count in (5, 5000):
        batch = await asyncio.to_thread(create_batch, http, (await asyncio.to_thread(upload, http, batch_lines(count)))["id"])
        assert (await node.service.jobs.get(batch["id"])).ledger == Ledger(count, 0, 0)
        with sync_redis.Redis.from_url(redis_url) as client:
            sizes.append(sum(key != MARK.encode() for key in client.keys("*")))
    assert sizes[1] - sizes[0] == 2  # the second file's record and the second job's
