"""`media_urls`: requests that link to media where the policy doesn't allow it, by each way in."""

from typing import Any

import httpx
import orjson
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer, error_of, upload

from balancer.configuration.values import MediaUrls

PRIVATE = "https://169.254.169.254/latest/meta-data"
PUBLIC = "https://example.com/cat.png"
DATA = "data:image/png;base64,aGk="


def chat(link: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": link}}]}]}


def as_messages(link: str) -> dict[str, Any]:
    block = {"type": "image", "source": {"type": "url", "url": link}}
    return {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [block]}]}


def as_response(link: str) -> dict[str, Any]:
    item = {"role": "user", "content": [{"type": "input_image", "image_url": link}]}
    return {"model": "m", "input": [item], "store": False}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(PRIVATE)),
        ("/v1/chat/completions", chat(PRIVATE) | {"stream": True}),
        ("/v1/messages", as_messages(PRIVATE)),
        ("/v1/responses", as_response(PRIVATE)),
        ("/v1/embeddings", {"model": "m", "input": [{"content": [{"type": "image_url", "image_url": {"url": PRIVATE}}]}]}),
        ("/v1/rerank", {"model": "m", "query": "q", "documents": {"content": [{"image_url": {"url": PRIVATE}}]}}),
    ],
)
def test_a_request_to_a_private_address_is_refused_before_it_is_sent(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    response = http.post(path, json=body)
    assert response.status_code == 400, response.text
    message = response.json()["error"]["message"]
    assert "links to an address in a private network" in message
    assert "data: URL" in message
    assert "169.254" not in message


def test_a_job_names_the_line(http: httpx.Client) -> None:
    lines = [{"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": chat(link)}
             for n, link in enumerate([PUBLIC, DATA, PRIVATE])]  # fmt: skip
    file = upload(http, b"".join(orjson.dumps(line) + b"\n" for line in lines))
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = http.post("/v1/batches", json=body).json()
    assert batch["status"] == "failed"
    assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == [("media_url_refused", 3)]
    job = http.post("/api/v1/jobs", json={"messages": [chat(PRIVATE)["messages"]], "model": "m"}).json()
    assert job["status"] == "failed"
    job = http.post("/api/v1/jobs", json={"messages": [chat(PUBLIC)["messages"]], "model": "m"}).json()
    assert job["status"] == "in_progress"


def test_a_batch_of_messages_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/messages/batches", json={"requests": [{"custom_id": "a", "params": as_messages(PRIVATE)}]})
    assert response.status_code == 400
    assert "requests[0]" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("policy", "link", "refused"),
    [(MediaUrls.DATA, PUBLIC, True), (MediaUrls.DATA, DATA, False), (MediaUrls.ANY, PRIVATE, False)],
)
def test_the_policy_can_be_set(start: StartServer, policy: MediaUrls, link: str, refused: bool) -> None:
    server: LiveServer = start(media_urls=policy, retry_count=0)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        response = http.post("/v1/chat/completions", json=chat(link))
    code = error_of(response)["code"]
    assert (code == "media_url_refused") is refused, response.text
