"""Anthropic's SDK for Node, as it comes: see node/ask_anthropic.mjs."""

from typing import Any

import pytest
from conftest import MODEL, Server, run_node


def ask(server: Server, case: str) -> Any:
    """Run one case and return what it printed."""
    return run_node("ask_anthropic.mjs", case, MODEL, ANTHROPIC_BASE_URL=server.root, ANTHROPIC_API_KEY=server.key)


@pytest.mark.parametrize("case", ["message", "stream", "tools"])
def test_an_answer_has_its_text_and_its_tokens(server: Server, case: str) -> None:
    answer = ask(server, case)
    assert answer["text"] and answer["tokens"] > 0
    assert answer.get("pieces", 2) > 1


def test_a_message_batch_gives_a_result_for_each_request(server: Server) -> None:
    assert ask(server, "batch") == {"succeeded": 20, "ids": [f"q-{number}" for number in range(20)]}


def test_an_unknown_model_is_not_found(server: Server) -> None:
    assert ask(server, "unknown_model") == {"error": "NotFoundError", "type": "not_found_error"}
