"""Pydantic AI's agents: text, streams, tools, structured output."""

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from served import Server


class City(BaseModel):
    """A city."""

    name: str
    rivers: int


def chat_model(server: Server, model: str) -> OpenAIChatModel:
    return OpenAIChatModel(model, provider=OpenAIProvider(base_url=server.base_url, api_key=server.key))


async def test_an_agent_answers_and_counts(server: Server, model: str) -> None:
    result = await Agent(chat_model(server, model)).run("Name three rivers.")
    assert "Nakdong" in result.output
    assert result.usage.input_tokens > 0 and result.usage.output_tokens > 0


async def test_an_agent_streams(server: Server, model: str) -> None:
    async with Agent(chat_model(server, model)).run_stream("Name three rivers.") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1 and "Nakdong" in "".join(pieces)


async def test_an_agent_calls_its_tool(server: Server, model: str) -> None:
    asked = []
    agent = Agent(chat_model(server, model))

    @agent.tool_plain
    def weather(city: str) -> str:
        """Return the weather of a city."""
        asked.append(city)
        return f"rain in {city}"

    result = await agent.run("What's the weather in Busan?")
    assert asked == ["Busan"] and "rain in Busan" in result.output


async def test_an_agent_returns_an_object(server: Server, model: str) -> None:
    result = await Agent(chat_model(server, model), output_type=City).run("A city, please.")
    assert result.output == City(name="Busan", rivers=3)
