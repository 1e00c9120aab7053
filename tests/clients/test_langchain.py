"""LangChain's ChatOpenAI, as it comes: only `base_url` and `api_key` are set."""

from typing import Any

import pytest
from conftest import MODEL, Server
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

HELLO = [SystemMessage("Be brief."), HumanMessage("Name three rivers.")]


def chat_model(server: Server, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(base_url=server.base_url, api_key=server.key, model=MODEL, max_retries=0, **options)


@pytest.mark.parametrize("responses", [False, True], ids=["chat completions", "responses"])
def test_invoke_has_its_text_and_its_tokens(server: Server, responses: bool) -> None:
    answer = chat_model(server, use_responses_api=responses).invoke(HELLO)
    assert "Name three rivers." in answer.text
    assert answer.usage_metadata and answer.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("responses", [False, True], ids=["chat completions", "responses"])
def test_a_stream_comes_in_chunks_with_its_tokens(server: Server, responses: bool) -> None:
    model = chat_model(server, use_responses_api=responses, stream_usage=True)
    chunks = list(model.stream(HELLO))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert sum(bool(chunk.text) for chunk in chunks) > 1
    assert "Name three rivers." in whole.text
    assert whole.usage_metadata and whole.usage_metadata["output_tokens"] > 0


async def test_a_chain_answers_many_at_once(server: Server) -> None:
    chain = ChatPromptTemplate.from_messages([("user", "What is {number}?")]) | chat_model(server) | StrOutputParser()
    answers = await chain.abatch([{"number": number} for number in range(8)])
    assert [f"What is {number}?" in answer for number, answer in enumerate(answers)] == [True] * 8
