from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from api_roadbalancer import Endpoint
from api_roadbalancer.langchain import ChatRoadbalancer, ChatRoadbalancerError
from api_roadbalancer.mock import MockServer


def test_a_chain_answers_though_one_of_two_servers_fails(start_mock: Any) -> None:
    good, bad = start_mock(), start_mock(fault="500")
    model = ChatRoadbalancer(endpoints=[bad.url, good.url], options={"strategy": "round_robin"})
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Name a {what}.")]) | model | StrOutputParser()

    answers = chain.batch([{"what": what} for what in ("river", "lake", "sea", "bay")])
    streamed = "".join(chain.stream({"what": "river"}))
    model.close()

    assert answers == [f"Simulated answer to: Name a {what}.." for what in ("river", "lake", "sea", "bay")]
    assert streamed == "Simulated answer to: Name a river.."


async def test_many_calls_at_once_are_spread_over_the_servers(two_mocks: list[MockServer]) -> None:
    model = ChatRoadbalancer(endpoints=[server.url for server in two_mocks], options={"strategy": "round_robin"})

    answers = await model.abatch([f"Number {n}" for n in range(40)])
    await model.aclose()

    assert [answer.content for answer in answers] == [f"Simulated answer to: Number {n}." for n in range(40)]
    endpoints = [answer.response_metadata["endpoint"] for answer in answers]
    assert {endpoints.count(name) for name in model.endpoint_names} == {20}
    assert all(answer.usage_metadata["output_tokens"] == 5 for answer in answers if answer.usage_metadata)


async def test_a_stream_tells_its_usage_and_its_model(two_mocks: list[MockServer]) -> None:
    model = ChatRoadbalancer(endpoints=[server.url for server in two_mocks])

    chunks = [chunk async for chunk in model.astream("Hello")]
    await model.aclose()

    assert "".join(str(chunk.content) for chunk in chunks) == "Simulated answer to: Hello."
    assert [chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata] == [4]
    assert chunks[-1].response_metadata["model_name"] == "simulated"


async def test_streams_that_are_left_early_give_their_slot_back(start_mock: Any) -> None:
    only_slot = Endpoint(start_mock(latency_per_token=0.01).url, max_concurrency=1)
    model = ChatRoadbalancer(endpoints=[only_slot], options={"enable_health_check": False})

    stream = model.astream("one two three four five six")
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await model.ainvoke("Hello")).content == "Simulated answer to: Hello."

    waiting = model.stream("one two three four five six")
    next(waiting)
    waiting.close()  # type: ignore[attr-defined]
    assert model.invoke("Hello").content == "Simulated answer to: Hello."
    await model.aclose()


@pytest.mark.parametrize("fault", ["500", "close", "broken_json"])
def test_where_every_server_fails_the_attempts_are_listed(start_mock: Any, fault: str) -> None:
    servers = [start_mock(fault=fault), start_mock(fault=fault)]
    model = ChatRoadbalancer(endpoints=[server.url for server in servers], max_retries=1)

    with pytest.raises(ChatRoadbalancerError) as caught:
        model.invoke("Hello")
    model.close()

    assert {attempt.endpoint for attempt in caught.value.attempts} == set(model.endpoint_names)
