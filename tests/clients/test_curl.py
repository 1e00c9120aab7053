"""curl, as people type it."""

import json
import subprocess

from conftest import MODEL, Server


def curl(server: Server, body: dict[str, object]) -> str:
    """Post a chat request and return what came."""
    authorization = f"Authorization: Bearer {server.key}"
    options = ["-sSN", "--fail-with-body", "-H", authorization, "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    command = ["curl", f"{server.base_url}/chat/completions", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_chat_is_answered(server: Server) -> None:
    answer = json.loads(curl(server, {"model": MODEL, "messages": [{"role": "user", "content": "Name three rivers."}]}))
    assert "Name three rivers." in answer["choices"][0]["message"]["content"]


def test_a_stream_is_events_that_end_with_done(server: Server) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Name three rivers."}]}
    events = curl(server, body).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert len(chunks) > 2
    assert "Name three rivers." in "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
