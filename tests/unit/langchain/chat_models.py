"""Chat models over scripted servers, and what they are asked."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from scripted_server import Scripted, event

from api_roadbalancer.langchain import ChatRoadbalancer

__all__ = ["ADDRESS", "EVERY_WAY", "STREAM", "USAGE", "Listener", "Models", "ask", "joined"]


ADDRESS = "http://gpu1:8000/v1"
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
STREAM = [
    event(role="assistant", content=""),
    event(content="Good "),
    event(content="day", usage=USAGE),  # some servers count in each chunk
    event(finish_reason="stop"),
    {"id": "c-1", "model": "m", "choices": [], "usage": USAGE},
]


class Models:
    """Makes models over scripted servers, and closes them."""

    def __init__(self) -> None:
        self._made: list[ChatRoadbalancer] = []

    def __call__(self, server: Scripted, **settings: Any) -> ChatRoadbalancer:
        given = {"endpoints": [ADDRESS], "model": "m", "options": server.options()} | settings
        self._made.append(ChatRoadbalancer(**given))
        return self._made[-1]

    async def aclose(self) -> None:
        for model in self._made:
            await model.aclose()


async def joined(chunks: AsyncIterator[AIMessageChunk] | Iterator[AIMessageChunk]) -> AIMessageChunk:
    """Add up a stream's chunks, of either colour."""
    listed = [chunk async for chunk in chunks] if isinstance(chunks, AsyncIterator) else list(chunks)
    whole = listed[0]
    for chunk in listed[1:]:
        whole += chunk
    return whole


async def ask(model: Any, how: str, prompt: Any = "Hello") -> AIMessage:
    """Ask in one of the four ways."""
    if how == "invoke":
        return model.invoke(prompt)
    if how == "ainvoke":
        return await model.ainvoke(prompt)
    return await joined(model.stream(prompt) if how == "stream" else model.astream(prompt))


EVERY_WAY = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


class Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.invocation: dict[str, Any] = {}

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.invocation = kwargs["invocation_params"] | {"serialized": serialized}

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)
