"""LiteLLM's SDK, with this server as an OpenAI-compatible one."""

from typing import Any

import litellm
from served import Server

HELLO = [{"role": "user", "content": "Name three rivers."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def place(server: Server, model: str) -> dict[str, Any]:
    return {"model": f"openai/{model}", "api_base": server.base_url, "api_key": server.key, "num_retries": 0}


def test_a_completion_has_text_and_tokens(server: Server, model: str) -> None:
    answer = litellm.completion(messages=HELLO, **place(server, model))
    assert "Nakdong" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0


async def test_a_stream_comes_in_pieces(server: Server, model: str) -> None:
    stream = await litellm.acompletion(messages=HELLO, stream=True, **place(server, model))
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert sum(map(bool, pieces)) > 1 and "Nakdong" in "".join(pieces)


def test_a_tool_is_called_and_its_result_is_read(server: Server, model: str) -> None:
    first = litellm.completion(messages=HELLO, tools=[WEATHER], **place(server, model)).choices[0].message
    [call] = first.tool_calls
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("weather", '{"city":"Busan"}')
    result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    messages = [*HELLO, first.model_dump(exclude_none=True), result]
    last = litellm.completion(messages=messages, tools=[WEATHER], **place(server, model))
    assert last.choices[0].message.content == "The tool said: rain"
