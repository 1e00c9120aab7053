"""Tools and structured output through LangChain."""

from typing import Any

import pytest
from chat_models import EVERY_WAY, Models, ask
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from scripted_server import Scripted, call, completion, event

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
    result = model.with_structured_output(Person, method="json_schema", include_raw=True).invoke("x")

    assert result["raw"].content == "no JSON"
    assert result["parsed"] is None
    assert isinstance(result["parsing_error"], OutputParserException)


async def test_an_answer_that_follows_the_schema_stands_beside_the_raw_one(models: Models) -> None:
    result = models(Scripted(AS_TOOL)).with_structured_output(Person, include_raw=True).invoke("x")

    assert result["parsed"] == Person(name="Ann", age=30)
    assert result["parsing_error"] is None


async def test_an_unknown_method_of_structured_output_is_refused(models: Models) -> None:
    with pytest.raises(ValueError, match="must be function_calling, json_schema or json_mode"):
        models(Scripted(AS_TEXT)).with_structured_output(Person, method="grammar")  # type: ignore[arg-type]
