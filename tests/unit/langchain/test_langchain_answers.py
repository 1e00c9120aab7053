"""What LangChain gets: answers, streams, usage, errors and callbacks."""

import json

import httpx
import pytest
from chat_models import ADDRESS, EVERY_WAY, STREAM, USAGE, Listener, Models, ask
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from scripted_server import Scripted, call, completion, event, event_stream

from api_roadbalancer.langchain import ChatRoadbalancerError

USAGE_METADATA = {
    "input_tokens": 10,
    "output_tokens": 4,
    "total_tokens": 14,
    "input_token_details": {"cache_read": 6},
    "output_token_details": {"reasoning": 3},
}
METADATA = {
    "model_name": "m",
    "model_provider": "roadbalancer",
    "endpoint": "gpu1:8000",
    "finish_reason": "stop",
    "id": "c-1",
}
WHOLE = pytest.mark.parametrize("how", ["invoke", "ainvoke"])
STREAMED = pytest.mark.parametrize("how", ["stream", "astream"])


@WHOLE
async def test_an_answer_carries_text_usage_and_where_it_came_from(models: Models, how: str) -> None:
    server = Scripted(completion(content="Good day", usage=USAGE))

    answer = await ask(models(server), how)

    assert answer.content == "Good day"
    assert answer.usage_metadata == USAGE_METADATA
    assert answer.response_metadata == METADATA


@STREAMED
async def test_a_stream_adds_up_to_the_same_answer_with_usage_reported_once(models: Models, how: str) -> None:
    server = Scripted(STREAM)

    answer = await ask(models(server), how)

    assert answer.content == "Good day"
    assert answer.usage_metadata == USAGE_METADATA
    assert answer.response_metadata == METADATA
    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["stream_options"] == {"include_usage": True}


async def test_a_stream_asks_for_no_usage_where_servers_refuse_that(models: Models) -> None:
    server = Scripted(STREAM)

    await ask(models(server, stream_usage=False), "stream")

    assert "stream_options" not in server.bodies[0]


@STREAMED
async def test_a_server_that_does_not_stream_answers_a_stream_all_the_same(models: Models, how: str) -> None:
    server = Scripted(completion(content="All at once", tool_calls=[call('{"a": 1}')], usage=USAGE))

    answer = await ask(models(server), how)

    assert answer.content == "All at once"
    assert [(each["name"], each["args"]) for each in answer.tool_calls] == [("add", {"a": 1})]
    assert answer.usage_metadata == USAGE_METADATA


async def test_of_several_streamed_choices_the_first_is_the_answer(models: Models) -> None:
    server = Scripted([event(content="first"), event(content="second", index=1), event(finish_reason="stop")])

    assert (await ask(models(server), "stream")).content == "first"


async def test_every_choice_of_a_whole_answer_is_a_generation_and_usage_is_counted_once(models: Models) -> None:
    raw = completion(content="one", usage=USAGE)
    raw["choices"].append({"index": 1, "message": {"content": "two"}, "finish_reason": "stop"})

    result = models(Scripted(raw)).generate([[HumanMessage("x")]], n=2)

    assert [each.text for each in result.generations[0]] == ["one", "two"]
    assert [each.message.usage_metadata for each in result.generations[0]] == [USAGE_METADATA, None]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "refusal"])
@pytest.mark.parametrize("how", ["invoke", "stream"])
async def test_what_servers_send_beside_the_text_is_kept(models: Models, how: str, name: str) -> None:
    whole = completion(content="4", **{name: "two and two"})
    parts = [event(**{name: "two "}), event(**{name: "and two"}), event(content="4"), event(finish_reason="stop")]

    answer = await ask(models(Scripted(whole if how == "invoke" else parts)), how)

    assert answer.content == "4"
    assert answer.additional_kwargs == {name: "two and two"}


async def test_settings_go_into_each_request_and_a_call_beats_them(models: Models) -> None:
    server = Scripted(completion(content="x"))
    model = models(server, temperature=0.2, max_tokens=50, stop=["END"], model_kwargs={"seed": 7})

    model.invoke("x")
    model.invoke("x", stop=["NOW"], temperature=0.9, model="other", seed=None)
    model.invoke("x", stop=[])

    first, second, third = [{k: v for k, v in body.items() if k != "messages"} for body in server.bodies]
    assert first == {"model": "m", "temperature": 0.2, "max_tokens": 50, "stop": ["END"], "seed": 7}
    assert second == {"model": "other", "temperature": 0.9, "max_tokens": 50, "stop": ["NOW"], "seed": 7}
    assert "stop" not in third


async def test_a_conversation_goes_out_in_openais_format(models: Models) -> None:
    server = Scripted(completion(content="3"))
    conversation: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage(
            [{"type": "text", "text": "What is"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
        ),
        AIMessage("", tool_calls=[{"name": "add", "args": {"a": 1, "b": 2}, "id": "call_1"}]),
        ToolMessage("3", tool_call_id="call_1"),
    ]

    models(server).invoke(conversation)

    system, human, called, returned = server.bodies[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in human["content"]] == ["text", "image_url"]
    assert called["tool_calls"][0]["id"] == "call_1"
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}
    assert returned == {"role": "tool", "tool_call_id": "call_1", "content": "3"}


@EVERY_WAY
async def test_where_no_endpoint_answers_the_error_tells_the_attempts(models: Models, how: str) -> None:
    server = Scripted(lambda body: httpx.Response(500, json={"error": {"message": "out of memory"}}))
    model = models(server, endpoints=[ADDRESS, "http://gpu2:8000/v1"], max_retries=1)

    with pytest.raises(ChatRoadbalancerError, match="out of memory") as caught:
        await ask(model, how)

    assert {attempt.endpoint for attempt in caught.value.attempts} == {"gpu1:8000", "gpu2:8000"}
    assert all("server_error" in (attempt.error or "") for attempt in caught.value.attempts)


@STREAMED
async def test_a_stream_that_breaks_off_is_an_error(models: Models, how: str) -> None:
    begun = b'data: {"choices": [{"index": 0, "delta": {"content": "Go"}}]}\n\n'
    server = Scripted(lambda body: event_stream(begun))

    with pytest.raises(ChatRoadbalancerError) as caught:
        await ask(models(server), how)

    assert len(caught.value.attempts) == 1


@STREAMED
async def test_callbacks_hear_each_token(models: Models, how: str) -> None:
    listener = Listener()

    await ask(models(Scripted(STREAM), callbacks=[listener]), how)

    assert listener.tokens == ["Good ", "day", ""]


@WHOLE
async def test_with_streaming_set_a_whole_answer_is_streamed_inside(models: Models, how: str) -> None:
    server = Scripted(STREAM)

    answer = await ask(models(server, streaming=True), how)

    assert answer.content == "Good day"
    assert server.bodies[0]["stream"] is True
