import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import OutputParserException
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, ValidationError
from scripted_server import Scripted, call, completion, event, event_stream

import api_roadbalancer.langchain as package
from api_roadbalancer import AsyncLoadBalancer, BalancerClosed, Endpoint, LoadBalancer
from api_roadbalancer.langchain import ChatRoadbalancer, ChatRoadbalancerError

ADDRESS = "http://gpu1:8000/v1"
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 4,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 6},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
USAGE_METADATA = {
    "input_tokens": 10,
    "output_tokens": 4,
    "total_tokens": 14,
    "input_token_details": {"cache_read": 6},
    "output_token_details": {"reasoning": 3},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
METADATA = {
    "model_name": "m",
    "model_provider": "roadbalancer",
    "endpoint": "gpu1:8000",
    "finish_reason": "stop",
    "id": "c-1",
}
STREAM = [
    event(role="assistant", content=""),
    event(content="Good "),
    event(content="day", usage=USAGE),  # some servers count in each chunk
    event(finish_reason="stop"),
    {"id": "c-1", "model": "m", "choices": [], "usage": USAGE},
]
TOOL_STREAM = [
    event(tool_calls=[call("", index=0)]),
    event(tool_calls=[call('{"a": 1,', name=None, id=None, index=0)]),
    event(tool_calls=[call(' "b": 2}', name=None, id=None, index=0)]),
    event(tool_calls=[call('{"a": 3, "b": 4}', id="call_2", index=1)]),
    event(finish_reason="tool_calls"),
]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Person(BaseModel):
    """A person."""

    name: str
    age: int


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


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    made = Models()
    yield made
    await made.aclose()


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


WHOLE = pytest.mark.parametrize("how", ["invoke", "ainvoke"])
STREAMED = pytest.mark.parametrize("how", ["stream", "astream"])
EVERY_WAY = pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])


@WHOLE
async def test_an_answer_carries_text_usage_and_where_it_came_from(models: Models, how: str) -> None:
    server = Scripted(completion(content="Good day", usage=USAGE))

    answer = await ask(models(server), how)

    assert answer.content == "Good day"
    assert answer.usage_metadata == USAGE_METADATA
    expected = {
        "model_name": "m",
        "model_provider": "roadbalancer",
        "endpoint": "gpu1:8000",
        "finish_reason": "stop",
        "id": "c-1",
    }
    assert answer.response_metadata == expected


@STREAMED
async def test_a_stream_adds_up_to_the_same_answer_with_usage_told_once(models: Models, how: str) -> None:
    server = Scripted(STREAM)

    answer = await ask(models(server), how)

    assert answer.content == "Good day"
    assert answer.usage_metadata == USAGE_METADATA
    expected = {
        "model_name": "m",
        "model_provider": "roadbalancer",
        "endpoint": "gpu1:8000",
        "finish_reason": "stop",
        "id": "c-1",
    }
    assert answer.response_metadata == expected
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

    system, human, called, told = server.bodies[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in human["content"]] == ["text", "image_url"]
    assert called["tool_calls"][0]["id"] == "call_1"
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": "3"}


@EVERY_WAY
async def test_a_tool_is_called_and_its_answer_taken(models: Models, how: str) -> None:
    streamed = "stream" in how
    ended: Any = [event(content="It is 3"), event(finish_reason="stop")] if streamed else completion(content="It is 3")
    asked: Any = TOOL_STREAM if streamed else completion("tool_calls", tool_calls=[call('{"a": 1, "b": 2}')])
    server = Scripted(asked, ended)
    model = models(server).bind_tools([add])
    conversation: list[BaseMessage] = [HumanMessage("1 + 2?")]

    conversation.append(await ask(model, how, conversation))
    first = conversation[-1].tool_calls[0]
    conversation.append(add.invoke(first))
    answer = await ask(model, how, conversation)

    assert (first["name"], first["args"], first["id"]) == ("add", {"a": 1, "b": 2}, "call_1")
    assert answer.content == "It is 3"
    assert server.bodies[0]["tools"][0]["function"]["name"] == "add"
    assert "tool_choice" not in server.bodies[0]
    assert server.bodies[1]["messages"][2] == {"role": "tool", "name": "add", "tool_call_id": "call_1", "content": "3"}


async def test_streamed_tool_calls_are_put_together_by_index(models: Models) -> None:
    answer = await ask(models(Scripted(TOOL_STREAM)), "astream")

    assert [(each["id"], each["args"]) for each in answer.tool_calls] == [
        ("call_1", {"a": 1, "b": 2}),
        ("call_2", {"a": 3, "b": 4}),
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (call('{"a": 1'), "are not JSON"),  # cut off by max_tokens: not to be repaired
        (call("[1, 2]"), "no JSON object"),
    ],
)
async def test_a_broken_tool_call_is_kept_as_invalid(models: Models, raw: dict[str, Any], said: str) -> None:
    answer = models(Scripted(completion(tool_calls=[raw]))).invoke("x")

    assert answer.tool_calls == []
    assert said in answer.invalid_tool_calls[0]["error"]
    assert answer.invalid_tool_calls[0]["args"] == raw["function"]["arguments"]


async def test_a_tool_call_without_arguments_has_none(models: Models) -> None:
    assert models(Scripted(completion(tool_calls=[call("")]))).invoke("x").tool_calls[0]["args"] == {}


NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize(
    ("choice", "tools", "sent"),
    [
        (None, [add], None),
        (False, [add], None),
        ("auto", [add], "auto"),
        ("none", [add], "none"),
        ("any", [add], NAMED),  # there is but one
        (True, [add], NAMED),
        ("any", [add, Person], "required"),
        ("required", [add, Person], "required"),
        ("add", [add, Person], NAMED),
        (NAMED, [add, Person], NAMED),
    ],
)
async def test_the_choice_of_a_tool_goes_out_as_openai_has_it(models: Models, choice: Any, tools: list[Any], sent: Any) -> None:
    server = Scripted(completion(content="x"))

    models(server).bind_tools(tools, tool_choice=choice).invoke("x")

    assert server.bodies[0].get("tool_choice") == sent


async def test_a_choice_that_is_no_tool_is_refused(models: Models) -> None:
    with pytest.raises(ValueError, match=r"'sub' is no tool that was bound \(add\)"):
        models(Scripted(completion())).bind_tools([add], tool_choice="sub")


ANN = '{"name": "Ann", "age": 30}'
AS_TOOL = completion(tool_calls=[call(ANN, name="Person")])
AS_TEXT = completion(content=ANN)


@pytest.mark.parametrize(
    ("method", "raw", "format"),
    [("function_calling", AS_TOOL, None), ("json_schema", AS_TEXT, "json_schema"), ("json_mode", AS_TEXT, "json_object")],
)
@pytest.mark.parametrize("schema", [Person, {"title": "Person", "description": "A person.", **Person.model_json_schema()}])
async def test_structured_output_is_asked_for_and_read(
    models: Models, method: Any, raw: dict[str, Any], format: str | None, schema: Any
) -> None:
    server = Scripted(raw)

    answer = await models(server).with_structured_output(schema, method=method).ainvoke("Who?")

    assert answer == (Person(name="Ann", age=30) if schema is Person else {"name": "Ann", "age": 30})
    body = server.bodies[0]
    assert (body.get("response_format") or {}).get("type") == format
    assert ("tools" in body) is (method == "function_calling")
    if format == "json_schema":
        assert body["response_format"]["json_schema"]["schema"]["required"] == ["name", "age"]


async def test_a_strict_schema_says_so_to_the_endpoint(models: Models) -> None:
    server = Scripted(AS_TEXT, AS_TOOL)
    model = models(server)

    model.with_structured_output(Person, method="json_schema", strict=True).invoke("x")
    model.with_structured_output(Person, strict=True).invoke("x")

    assert server.bodies[0]["response_format"]["json_schema"]["strict"] is True
    assert server.bodies[1]["tools"][0]["function"]["strict"] is True


async def test_an_answer_against_the_schema_is_an_error_or_stands_beside_the_raw_one(models: Models) -> None:
    model = models(Scripted(completion(content="no JSON")))

    with pytest.raises(OutputParserException):
        model.with_structured_output(Person, method="json_schema").invoke("x")
    told = model.with_structured_output(Person, method="json_schema", include_raw=True).invoke("x")

    assert told["raw"].content == "no JSON"
    assert told["parsed"] is None
    assert isinstance(told["parsing_error"], OutputParserException)


async def test_an_answer_that_follows_the_schema_is_told_beside_the_raw_one(models: Models) -> None:
    told = models(Scripted(AS_TOOL)).with_structured_output(Person, include_raw=True).invoke("x")

    assert told["parsed"] == Person(name="Ann", age=30)
    assert told["parsing_error"] is None


async def test_an_unknown_method_of_structured_output_is_refused(models: Models) -> None:
    with pytest.raises(ValueError, match="must be function_calling, json_schema or json_mode"):
        models(Scripted(AS_TEXT)).with_structured_output(Person, method="grammar")  # type: ignore[arg-type]


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


class Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.invocation: dict[str, Any] = {}

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.invocation = kwargs["invocation_params"] | {"serialized": serialized}

    def on_llm_new_token(self, token: str, **kwargs: Any) -> None:
        self.tokens.append(token)


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


async def test_balancers_that_are_given_are_used_and_left_open() -> None:
    threads, loop = Scripted(completion(content="from threads")), Scripted(completion(content="from the loop"))
    with LoadBalancer([Endpoint(ADDRESS)], **threads.options()) as balancer:
        async with AsyncLoadBalancer([Endpoint(ADDRESS)], **loop.options()) as async_balancer:
            model = ChatRoadbalancer(balancer=balancer, async_balancer=async_balancer, model="m")

            assert (await ask(model, "invoke")).content == "from threads"
            assert (await ask(model, "ainvoke")).content == "from the loop"
            assert model.endpoint_names == ["gpu1:8000"]
            await model.aclose()
            assert (await ask(model, "invoke")).content == "from threads"


@pytest.mark.parametrize(("how", "server"), [("ainvoke", completion(content="Good day")), ("astream", STREAM)])
async def test_a_balancer_for_threads_serves_asynchronous_calls_too(how: str, server: Any) -> None:
    with LoadBalancer([Endpoint(ADDRESS)], **Scripted(server).options()) as balancer:
        assert (await ask(ChatRoadbalancer(balancer=balancer, model="m"), how)).content == "Good day"


async def test_an_asynchronous_balancer_alone_refuses_calls_that_wait() -> None:
    async with AsyncLoadBalancer([Endpoint(ADDRESS)]) as balancer:
        with pytest.raises(ValueError, match=r"use ainvoke and astream, or give balancer="):
            ChatRoadbalancer(async_balancer=balancer).invoke("x")


def test_one_model_serves_several_event_loops_and_threads() -> None:
    server = Scripted(completion(content="x"))
    model = ChatRoadbalancer(endpoints=[ADDRESS], model="m", options=server.options())

    async def ask_and_close() -> str:
        answer = await model.ainvoke("x")
        return str(answer.content)

    assert [asyncio.run(ask_and_close()) for _ in range(3)] == ["x", "x", "x"]
    assert [answer.content for answer in model.batch(["x"] * 8)] == ["x"] * 8
    model.close()
    model.close()
    with pytest.raises(BalancerClosed):
        model.invoke("x")


def test_a_configuration_file_names_the_endpoints(tmp_path: Any) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("endpoints:\n  - {url: 'http://gpu1:8000/v1', name: one, api_key: sk-file}\n")
    server = Scripted(completion(content="x"))
    model = ChatRoadbalancer(config=path, model="m", options=server.options())

    model.invoke("x")
    model.close()

    assert model.endpoint_names == ["one"]
    assert server.keys == ["Bearer sk-file"]


def test_a_key_goes_to_endpoints_that_are_mere_addresses_only() -> None:
    server = Scripted(completion(content="x"))
    endpoints = [ADDRESS, Endpoint("http://gpu2:8000/v1", api_key="sk-own"), Endpoint("http://gpu3:8000/v1")]
    options = server.options(strategy="round_robin")
    model = ChatRoadbalancer(endpoints=endpoints, api_key="sk-given", model="m", options=options)

    for _ in range(3):
        model.invoke("x")
    model.close()

    assert sorted(server.keys, key=str) == ["Bearer sk-given", "Bearer sk-own", None]


def test_no_key_is_shown_serialised_or_told_to_callbacks() -> None:
    server = Scripted(completion(content="x"))
    listener = Listener()
    model = ChatRoadbalancer(
        endpoints=[ADDRESS, Endpoint("http://user:sk-secret@gpu2:8000/v1", api_key="sk-secret")],
        api_key="sk-secret",
        options=server.options(redis_url=None),
        callbacks=[listener],
        model="m",
    )

    model.invoke("x")
    model.close()

    shown = [repr(model), str(model), dumps(model), repr(model.asdict()), repr(model.model_dump()), model.model_dump_json()]
    shown += [repr(model._get_ls_params()), repr(listener.invocation), model._get_llm_string()]
    assert [each for each in shown if "secret" in each] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoints": []}, "there are none"),
        ({"endpoints": ["gpu1:8000"]}, "must be an http:// or https:// address"),
        ({"endpoints": [ADDRESS], "config": "fleet.yaml"}, "endpoints, config: give one of them"),
        ({"endpoints": [ADDRESS], "options": {"strategy": "fastest"}}, "fastest"),
        ({"config": "missing.yaml"}, "missing.yaml"),
        ({"endpoints": [ADDRESS], "temprature": 1}, "temprature"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once_without_a_key(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ChatRoadbalancer(api_key="sk-secret", **settings)

    assert "sk-secret" not in str(caught.value)


def test_settings_of_a_balancer_that_is_given_are_refused_beside_it() -> None:
    with (
        LoadBalancer([Endpoint(ADDRESS)]) as balancer,
        pytest.raises(ValidationError, match="timeout, max_retries: with balancer="),
    ):
        ChatRoadbalancer(balancer=balancer, timeout=5, max_retries=0)


def test_models_over_other_endpoints_or_settings_do_not_share_a_cache() -> None:
    keys = {
        ChatRoadbalancer(endpoints=[address], model=model, temperature=temperature)._get_llm_string()
        for address, model, temperature in [
            (ADDRESS, "m", 0),
            ("http://gpu2:8000/v1", "m", 0),
            (ADDRESS, "n", 0),
            (ADDRESS, "m", 1),
        ]
    }
    assert len(keys) == 4


def test_traces_are_told_provider_model_and_settings() -> None:
    model = ChatRoadbalancer(endpoints=[ADDRESS], model="m", temperature=0.5, max_tokens=9, stop=["END"])

    assert model._get_ls_params() == {
        "ls_provider": "roadbalancer",
        "ls_model_type": "chat",
        "ls_model_name": "m",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["END"],
    }


def test_without_the_extra_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['langchain_core'] = None; import api_roadbalancer.langchain"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "ImportError: ChatRoadbalancer needs langchain-core" in ended.stderr
    assert "pip install 'roadbalancer[langchain]'" in ended.stderr


def test_the_package_offers_what_it_says() -> None:
    assert package.__all__ == ["ChatRoadbalancer", "ChatRoadbalancerError"]
