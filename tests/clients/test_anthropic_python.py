"""Anthropic's SDK for Python, as it comes: only `base_url` and `api_key` are set."""

import pytest
from anthropic import Anthropic, AsyncAnthropic, AuthenticationError, NotFoundError
from conftest import MODEL, Server, wait_until

HELLO = [{"role": "user", "content": "Name three rivers."}]
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture
def client(server: Server) -> Anthropic:
    return Anthropic(base_url=server.root, api_key=server.key, max_retries=0)


def test_a_message_has_its_text_and_its_tokens(client: Anthropic) -> None:
    answer = client.messages.create(model=MODEL, max_tokens=100, system="Be brief.", messages=HELLO)
    assert "Name three rivers." in answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0


def test_a_stream_comes_in_pieces_with_the_tokens_at_the_end(client: Anthropic) -> None:
    with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
    assert len(pieces) > 2 and "Name three rivers." in "".join(pieces)
    assert answer.usage.output_tokens > 0


async def test_the_asynchronous_client_answers(server: Server) -> None:
    async with AsyncAnthropic(base_url=server.root, api_key=server.key, max_retries=0) as client:
        answer = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    assert "Name three rivers." in answer.content[0].text


def test_a_conversation_with_tools_goes_on(client: Anthropic) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Seoul"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain."}
    messages = [*HELLO, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    answer = client.messages.create(model=MODEL, max_tokens=100, messages=messages, tools=[WEATHER])
    assert answer.content[0].text


def test_tokens_are_counted(client: Anthropic) -> None:
    assert client.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0


def test_a_message_batch_gives_a_result_for_each_request(client: Anthropic) -> None:
    params = {"model": MODEL, "max_tokens": 50, "messages": HELLO}
    batch = client.messages.batches.create(requests=[{"custom_id": f"q-{n}", "params": params} for n in range(20)])
    wait_until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended")
    results = list(client.messages.batches.results(batch.id))
    assert [result.custom_id for result in results] == [f"q-{n}" for n in range(20)]
    assert {result.result.type for result in results} == {"succeeded"}
    assert batch.id in [each.id for each in client.messages.batches.list(limit=2)]


def test_errors_are_the_clients_own(client: Anthropic, server: Server) -> None:
    with pytest.raises(NotFoundError):
        client.messages.create(model="no-such-model", max_tokens=100, messages=HELLO)
    with pytest.raises(AuthenticationError):
        Anthropic(base_url=server.root, api_key="wrong", max_retries=0).messages.create(
            model=MODEL, max_tokens=100, messages=HELLO
        )
