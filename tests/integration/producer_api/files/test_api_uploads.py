"""Uploads on the wire: fields in any order, limits, and clients that go away."""

import socket
from pathlib import Path

import httpx
import pytest
import redis as sync_redis
from live_server import LiveServer, StartServer, batch_line, batch_lines, error_of

from producer_api.context import Limits
from tests.waiting import until_blocking

BOUNDARY = "b0undary"


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    label = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{label}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def post(http: httpx.Client, *parts: bytes, end: bytes = END) -> httpx.Response:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return http.post("/v1/files", content=b"".join(parts) + end, headers=headers)


def stored(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


def test_fields_may_stand_behind_the_file(http: httpx.Client) -> None:
    response = post(
        http,
        part("file", b"not json\n", "a.jsonl"),
        part("expires_after[anchor]", b"created_at"),
        part("expires_after[seconds]", b"7200"),
        part("purpose", b"batch"),
    )
    made = response.json()
    assert (response.status_code, made["status"], made["expires_at"] - made["created_at"]) == (200, "error", 7200)


def test_a_file_that_turns_out_to_be_no_input_is_kept_without_a_check(http: httpx.Client, store_folder: Path) -> None:
    made = post(http, part("file", b"not json\n", "a.txt"), part("purpose", b"user_data")).json()
    assert (made["status"], made["status_details"], made["expires_at"]) == ("processed", None, None)
    assert http.get(f"/v1/files/{made['id']}/content").content == b"not json\n"
    assert [path.name for path in stored(store_folder)] == ["content"]
    refused = http.post(
        "/v1/batches", json={"input_file_id": made["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    )
    assert (refused.status_code, error_of(refused)["param"]) == (400, "input_file_id")


@pytest.mark.parametrize("filename", ["../../etc/passwd", "C:\\temp\\passwd", "/passwd", "pass\x1bwd"])
def test_a_filename_is_a_label_and_no_path(http: httpx.Client, filename: str, store_folder: Path) -> None:
    made = post(http, part("purpose", b"batch"), part("file", batch_line("a"), filename)).json()
    assert made["filename"] == "passwd"
    assert all(path.is_relative_to(store_folder / "files") for path in stored(store_folder))


def test_a_long_filename_is_cut(http: httpx.Client) -> None:
    made = post(http, part("purpose", b"batch"), part("file", batch_line("a"), "n" * 3000)).json()
    assert made["filename"] == "n" * 255


FILE = part("file", batch_line("a"), "a.jsonl")
PURPOSE = part("purpose", b"batch")
ANCHOR = part("expires_after[anchor]", b"created_at")


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([PURPOSE], "file"),
        ([FILE], "purpose"),
        ([part("purpose", b"fun"), FILE], "purpose"),
        ([FILE, part("purpose", b"fun")], "purpose"),
        ([FILE, PURPOSE, ANCHOR], "expires_after[seconds]"),
        ([FILE, PURPOSE, part("expires_after[seconds]", b"7200")], "expires_after[anchor]"),
        (
            [FILE, PURPOSE, part("expires_after[anchor]", b"now"), part("expires_after[seconds]", b"7200")],
            "expires_after[anchor]",
        ),
        ([FILE, PURPOSE, ANCHOR, part("expires_after[seconds]", b"3599")], "expires_after[seconds]"),
        ([FILE, PURPOSE, ANCHOR, part("expires_after[seconds]", b"2592001")], "expires_after[seconds]"),
        ([FILE, PURPOSE, ANCHOR, part("expires_after[seconds]", b"2592000" * 9)], "expires_after[seconds]"),
        ([FILE, PURPOSE, ANCHOR, part("expires_after[seconds]", b"-1")], "expires_after[seconds]"),
        ([FILE, PURPOSE, ANCHOR, part("expires_after[seconds]", "٣٦٠٠".encode())], "expires_after[seconds]"),
        ([PURPOSE, FILE, FILE], "file"),
        ([PURPOSE, part("note", b"x" * 5000), FILE], "note"),
    ],
)
def test_a_form_that_can_not_be_meant_leaves_nothing(
    http: httpx.Client, store_folder: Path, parts: list[bytes], param: str
) -> None:
    response = post(http, *parts)
    assert (response.status_code, error_of(response)["param"]) == (400, param)
    assert stored(store_folder) == []
    assert http.get("/v1/files").json()["data"] == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", FILE + PURPOSE + END),  # no boundary
        (f"multipart/form-data; boundary={'b' * 200}", b""),
        (f"multipart/form-data; boundary={BOUNDARY}", b""),
        (f"multipart/form-data; boundary={BOUNDARY}", b"rubbish"),
        (f"multipart/form-data; boundary={BOUNDARY}", PURPOSE + FILE),  # no end
        (f"multipart/form-data; boundary={BOUNDARY}", b"--b0undary\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END),
        (f"multipart/form-data; boundary={BOUNDARY}", b"".join(part(f"f{n}", b"") for n in range(40)) + FILE + END),
    ],
)
def test_a_body_that_is_no_form_is_refused(http: httpx.Client, store_folder: Path, content_type: str, body: bytes) -> None:
    response = http.post("/v1/files", content=body, headers={"content-type": content_type})
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_multipart")
    assert stored(store_folder) == []


def test_a_file_over_the_limit_is_refused_on_the_way(start: StartServer, store_folder: Path) -> None:
    server = start(limits=Limits(upload_bytes=100_000))
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        refused = post(http, PURPOSE, part("file", b"x" * 100_001, "a.jsonl"))
        assert (refused.status_code, error_of(refused)["code"]) == (413, "file_too_large")
        assert post(http, part("purpose", b"evals"), part("file", b"x" * 100_000, "a.jsonl")).status_code == 200
        announced = post(http, PURPOSE, part("file", b"x" * 2_000_000, "a.jsonl"))
        assert (announced.status_code, error_of(announced)["code"]) == (413, "file_too_large")
    assert len(stored(store_folder)) == 1


@pytest.mark.parametrize("purpose", [b"batch", b"user_data"])
def test_a_client_that_goes_away_leaves_nothing(
    server: LiveServer, http: httpx.Client, store_folder: Path, redis_url: str, purpose: bytes
) -> None:
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        "Content-Length: 100000000\r\n\r\n"
    )
    begun = part("purpose", purpose) + part("file", batch_line("a", pad="x" * 4000) * 3000, "a.jsonl")[:-2]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + begun)
        until_blocking(lambda: [path for path in store_folder.rglob("*") if path.is_file() and path.stat().st_size > 0])
    until_blocking(lambda: not stored(store_folder))
    assert http.get("/v1/files").json()["data"] == []
    with sync_redis.Redis.from_url(redis_url) as client_of_redis:
        assert client_of_redis.keys("rb:file*") == []


def test_a_good_upload_follows_a_refused_one_on_the_same_connection(http: httpx.Client) -> None:
    assert post(http, part("purpose", b"fun"), part("file", batch_lines(5000), "a.jsonl")).status_code == 400
    assert post(http, PURPOSE, FILE).status_code == 200
