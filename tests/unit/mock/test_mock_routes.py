from __future__ import annotations

import pytest
from simulated_server import Running, StartServer


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_every_route_answers_with_and_without_the_prefix(running: Running, prefix: str) -> None:
    for path in ("models", "health", "mock/stats", "mock/requests", "mock/behaviour", "models/any/name"):
        response = await running.client.get(f"{prefix}/{path}?a=b")
        assert response.status_code == 200, path
        assert response.headers["x-request-id"]
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    response = await running.client.post(f"{prefix}/chat/completions", json=body)
    assert response.json()["model"] == "simulated"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/v2/chat/completions", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/mock/behaviour", 405, "method_not_allowed"),
    ],
)
async def test_wrong_paths_and_methods_get_openais_envelope(
    running: Running, method: str, path: str, status: int, code: str
) -> None:
    response = await running.client.request(method, path)
    assert response.status_code == status
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_a_wrong_method_is_answered_with_the_right_ones(running: Running) -> None:
    response = await running.client.delete("/mock/behaviour")
    assert response.headers["allow"] == "GET, POST"


async def test_head_gets_the_headers_alone(running: Running) -> None:
    response = await running.client.head("/health")
    assert (response.status_code, response.headers["content-length"], response.content) == (200, "2", b"")


async def test_models_are_listed_and_only_those_are_served(start: StartServer) -> None:
    running = await start(models=["gpt-a", "org/model-b"])
    listed = (await running.client.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["gpt-a", "org/model-b"]
    assert (await running.client.get("/v1/models/org%2Fmodel-b")).json()["id"] == "org/model-b"
    assert (await running.client.get("/v1/models/other")).status_code == 404
    assert (await running.chat(model="org/model-b")).json()["model"] == "org/model-b"
    refused = await running.chat(model="other")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_star_is_listed_and_takes_any_model(running: Running) -> None:
    listed = (await running.client.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["simulated", "*"]
    assert (await running.chat(model="whatever")).json()["model"] == "whatever"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"colour": 1}', b'{"latency": "slow"}', b'{"fault": "x"}'])
async def test_a_bad_behaviour_is_refused_and_changes_nothing(running: Running, body: bytes) -> None:
    before = await running.get("behaviour")
    response = await running.client.post("/mock/behaviour", content=body)
    assert response.status_code == 400
    assert await running.get("behaviour") == before


async def test_one_bad_option_spoils_the_whole_change(running: Running) -> None:
    response = await running.client.post("/mock/behaviour", json={"latency": 1, "error_rate": 2})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "error_rate")
    assert (await running.get("behaviour"))["latency"] == 0


async def test_counts_are_kept_by_key_and_reset_together(running: Running) -> None:
    for _ in range(3):
        await running.chat(metadata={"line": "a"})
    await running.chat(user="b")
    await running.client.post("/v1/chat/completions", content=b"{")
    counts = await running.get("requests")
    assert {"a": 3, "b": 1}.items() <= counts["counts"].items()
    assert len(counts["counts"]) == 3  # the body that could not be read has a key, too
    assert counts["completed"] == {"a": 3, "b": 1}
    stats = await running.stats()
    assert stats["by_status"] == {"200": 4, "400": 1}
    assert stats["first_at"] <= stats["last_at"]
    await running.client.post("/mock/reset")
    assert await running.get("requests") == {"counts": {}, "completed": {}}
    stats = await running.stats()
    assert (stats["requests"], stats["max_in_flight"], stats["first_at"]) == (0, 0, None)


async def test_keys_are_not_kept_where_tracking_is_off(start: StartServer) -> None:
    running = await start(track_keys=False)
    await running.chat(user="a")
    assert await running.get("requests") == {"counts": {}, "completed": {}}
    assert (await running.stats())["completed"] == 1


async def test_only_chat_requests_are_counted(running: Running) -> None:
    await running.client.get("/v1/models")
    await running.client.get("/v1/nothing")
    assert (await running.stats())["requests"] == 0
