"""OpenAI's SDK for Python, as it comes: only `base_url` and `api_key` are set."""

import json
from pathlib import Path

import pytest
from conftest import MODEL, Server, wait_until
from openai import AsyncOpenAI, AuthenticationError, NotFoundError, OpenAI

HELLO = [{"role": "user", "content": "Name three rivers."}]
ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.fixture
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0)


def test_a_chat_has_its_text_and_its_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert "Name three rivers." in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0


def test_a_stream_comes_in_chunks_with_the_tokens_in_the_last(client: OpenAI) -> None:
    options = {"include_usage": True}
    with client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options=options) as stream:
        chunks = list(stream)
    assert len(chunks) > 2
    assert "Name three rivers." in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens > 0


def test_the_streaming_helper_puts_the_chunks_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "Name three rivers." in (answer.choices[0].message.content or "")


async def test_the_asynchronous_client_answers(server: Server) -> None:
    async with AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert "Name three rivers." in (answer.choices[0].message.content or "")


def test_a_response_has_its_text_and_its_tokens(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="Name three rivers.", instructions="Be brief.")
    assert "Name three rivers." in answer.output_text
    assert answer.status == "completed"
    assert answer.usage and answer.usage.output_tokens > 0


def test_a_streamed_response_ends_completed(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Name three rivers.") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        answer = stream.get_final_response()
    assert len(deltas) > 1
    assert "".join(deltas) == answer.output_text
    assert "Name three rivers." in answer.output_text
    assert answer.status == "completed"


def test_a_batch_gives_one_line_for_each_request(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(_line(number) for number in range(20)))
    with path.open("rb") as requests:
        file = client.files.create(file=requests, purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    wait_until(lambda: client.batches.retrieve(batch.id).status in ENDED)
    batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed"
    assert batch.request_counts and (batch.request_counts.completed, batch.request_counts.failed) == (20, 0)
    assert batch.output_file_id
    results = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    assert [result["custom_id"] for result in results] == [f"q-{number}" for number in range(20)]
    assert "What is 7?" in results[7]["response"]["body"]["choices"][0]["message"]["content"]
    assert batch.id in [listed.id for listed in client.batches.list()]
    assert file.id in [listed.id for listed in client.files.list(purpose="batch")]


def test_the_models_are_listed(client: OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as refused:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    assert refused.value.code == "model_not_found"


def test_a_wrong_key_is_refused(server: Server) -> None:
    client = OpenAI(base_url=server.base_url, api_key="another-key", max_retries=0)
    with pytest.raises(AuthenticationError):
        client.chat.completions.create(model=MODEL, messages=HELLO)


def _line(number: int) -> str:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"What is {number}?"}]}
    return json.dumps({"custom_id": f"q-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"
