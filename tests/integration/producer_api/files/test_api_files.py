"""Files, through the official client."""

from pathlib import Path

import httpx
import openai
import pytest
from live_server import batch_line, batch_lines, create_batch, error_of, upload


def test_a_file_is_uploaded_looked_up_read_and_deleted(sdk: openai.OpenAI, tmp_path: Path) -> None:
    content = batch_lines(3)
    path = tmp_path / "requests.jsonl"
    path.write_bytes(content)
    made = sdk.files.create(file=path, purpose="batch")
    assert (made.filename, made.bytes, made.purpose, made.status) == ("requests.jsonl", len(content), "batch", "processed")
    assert made.expires_at == made.created_at + 30 * 86400
    assert sdk.files.retrieve(made.id) == made
    assert sdk.files.content(made.id).read() == content
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.files.retrieve(made.id)
    assert refused.value.code == "not_found"


def test_files_are_listed_in_pages_by_age_and_purpose(sdk: openai.OpenAI) -> None:
    ids = [sdk.files.create(file=(f"{n}.jsonl", batch_lines(1)), purpose="batch").id for n in range(5)]
    other = sdk.files.create(file=("a.txt", b"text"), purpose="user_data").id
    assert [f.id for f in sdk.files.list(limit=2)] == [other, *reversed(ids)]  # the client asks page after page
    assert [f.id for f in sdk.files.list(order="asc", limit=4)] == [*ids, other]
    page = sdk.files.list(purpose="batch", limit=3)
    assert ([f.id for f in page.data], page.has_more) == (ids[:1:-1], True)
    assert [f.id for f in page.get_next_page().data] == ids[1::-1]
    assert sdk.files.list(purpose="fine-tune").data == []


def test_a_list_says_where_it_begins_and_ends(http: httpx.Client) -> None:
    assert http.get("/v1/files").json() == {"object": "list", "first_id": None, "last_id": None, "has_more": False, "data": []}
    ids = [upload(http, batch_lines(1))["id"] for _ in range(2)]
    answer = http.get("/v1/files").json()
    assert (answer["first_id"], answer["last_id"]) == (ids[1], ids[0])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=many", "limit"),
        ("order=sideways", "order"),
    ],
)
def test_a_list_that_can_not_be_meant_is_refused(http: httpx.Client, query: str, param: str) -> None:
    response = http.get(f"/v1/files?{query}")
    assert (response.status_code, error_of(response)["param"]) == (400, param)


def test_a_page_after_an_unknown_file_is_refused(http: httpx.Client) -> None:
    response = http.get("/v1/files?after=file-00000000")
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_a_file_expires_when_its_owner_says_so(sdk: openai.OpenAI) -> None:
    expiry = {"anchor": "created_at", "seconds": 3600}
    made = sdk.files.create(file=("a.jsonl", batch_lines(1)), purpose="batch", expires_after=expiry)  # type: ignore[arg-type]
    assert made.expires_at == made.created_at + 3600
    assert sdk.files.create(file=("a.txt", b"x"), purpose="user_data").expires_at is None


def test_a_file_with_bad_lines_says_so(sdk: openai.OpenAI) -> None:
    made = sdk.files.create(file=("a.jsonl", b"{\n" + batch_line("a") + b"[]\n"), purpose="batch")
    assert made.status == "error"
    assert made.status_details is not None
    assert made.status_details.startswith("line 1: is not valid JSON")
    assert made.status_details.endswith("(and 1 more)")


def test_the_content_comes_with_its_length_and_a_name(http: httpx.Client) -> None:
    made = upload(http, b"x" * 100_000, "user_data", "späť q;.bin")
    response = http.get(f"/files/{made['id']}/content")
    assert (response.headers["content-length"], len(response.content)) == ("100000", 100_000)
    assert response.headers["content-type"] == "application/octet-stream"
    disposition = response.headers["content-disposition"]
    assert disposition == "attachment; filename=\"sp__ q;.bin\"; filename*=UTF-8''sp%C3%A4%C5%A5%20q%3B.bin"


def test_content_that_has_left_the_store_is_not_found(http: httpx.Client, store_folder: Path) -> None:
    made = upload(http, batch_lines(1))
    (store_folder / "files" / made["id"] / "content").unlink()
    response = http.get(f"/v1/files/{made['id']}/content")
    assert (response.status_code, error_of(response)["code"]) == (404, "content_not_found")


def test_an_input_is_not_deleted_under_its_job(http: httpx.Client) -> None:
    made = upload(http, batch_lines(2))
    batch = create_batch(http, made["id"])
    refused = http.delete(f"/v1/files/{made['id']}")
    assert (refused.status_code, error_of(refused)["code"]) == (409, "file_in_use")
    http.post(f"/v1/batches/{batch['id']}/cancel")
    assert http.delete(f"/v1/files/{made['id']}").json() == {"id": made["id"], "object": "file", "deleted": True}


@pytest.mark.parametrize(
    "file_id",
    [
        "file-unknown1",
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "file-%00aaaaaaaa",
        "file-aaaaaaaa%0a",
        "file-" + "a" * 5000,
        "%ff%fe",
        "rb:jobs",
        "*",
    ],
)
@pytest.mark.parametrize("tail", ["", "/content"])
def test_ids_that_are_none_are_not_found(http: httpx.Client, file_id: str, tail: str) -> None:
    for method in ("GET", "DELETE") if not tail else ("GET",):
        response = http.request(method, f"/v1/files/{file_id}{tail}")
        assert response.status_code == 404
        assert len(error_of(response)["message"]) < 1100
