"""OpenAI's SDK for Node, as it comes: see node/ask.mjs."""

from typing import Any

import pytest
from conftest import MODEL, Server, run_node


def ask(server: Server, case: str) -> Any:
    """Run one case and return what it printed."""
    return run_node("ask.mjs", case, MODEL, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=server.key)


@pytest.mark.parametrize("case", ["chat", "stream", "response", "streamed_response"])
def test_an_answer_has_its_text_and_its_tokens(server: Server, case: str) -> None:
    answer = ask(server, case)
    assert "Name three rivers." in answer["text"]
    assert answer["tokens"] > 0
    assert answer.get("status", "completed") == "completed"
    assert answer.get("chunks", 2) > 1


def test_a_batch_gives_one_line_for_each_request(server: Server) -> None:
    assert ask(server, "batch") == {"status": "completed", "completed": 20, "ids": [f"q-{number}" for number in range(20)]}


def test_an_unknown_model_is_not_found(server: Server) -> None:
    assert ask(server, "unknown_model") == {"error": "NotFoundError", "code": "model_not_found"}
