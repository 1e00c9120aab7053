"""LlamaIndex's OpenAI-compatible model."""

import json

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from served import Server

HELLO = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Name three rivers.")]


def chat_model(server: Server, model: str) -> OpenAILike:
    place = {"api_base": server.base_url, "api_key": server.key}
    return OpenAILike(model=model, is_chat_model=True, is_function_calling_model=True, max_retries=0, **place)


def test_a_chat_is_answered(server: Server, model: str) -> None:
    answer = chat_model(server, model).chat(HELLO)
    assert "Nakdong" in (answer.message.content or "")
    assert "Nakdong" in chat_model(server, model).complete("Name three rivers.").text


async def test_a_stream_comes_in_pieces(server: Server, model: str) -> None:
    stream = await chat_model(server, model).astream_chat(HELLO)
    pieces = [piece.delta or "" async for piece in stream]
    assert sum(map(bool, pieces)) > 1 and "Nakdong" in "".join(pieces)


def test_a_tool_is_chosen(server: Server, model: str) -> None:
    def weather(city: str) -> str:
        """Return the weather of a city."""
        return f"rain in {city}"

    answer = chat_model(server, model).chat_with_tools([FunctionTool.from_defaults(weather)], "What's the weather in Busan?")
    [call] = chat_model(server, model).get_tool_calls_from_response(answer)
    assert (call.tool_name, json.loads(json.dumps(call.tool_kwargs))) == ("weather", {"city": "Busan"})
