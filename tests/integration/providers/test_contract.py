"""One table for every wire format: an OpenAI request goes in, the provider hears what was meant, an OpenAI answer comes out."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer import AsyncLoadBalancer
from balancer.outcome import FailureKind, Usage
from balancer.results import ChatResult
from tests.fake_providers import (
    FAKE_PROVIDERS,
    Document,
    Ending,
    FakeProvider,
    Image,
    ProviderServer,
    ReceivedRequest,
    Reply,
    Script,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)  # fmt: skip
from tests.fleet_calls import chat, streamed_chat

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKMSAwIG9iago8PC9UeXBlL0NhdGFsb2c+PgplbmRvYmoKdHJhaWxlcgo8PC9Sb290IDEgMCBSPj4KJSVFT0YK"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tell the weather", "parameters": WEATHER}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Seoul"}'}}
HI = [{"role": "user", "content": "Hi"}]
USER_HI = (Turn("user", (Text("Hi"),)),)


@dataclass(frozen=True)
class Scenario:
    """`fields` go in beside the model; the provider must receive `received`, and answers by `script`."""

    fields: Mapping[str, Any]
    received: Mapping[str, Any] = field(default_factory=dict)
    script: Script = field(default=Script())


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


SCENARIOS = {
    "plain": Scenario({"messages": HI}, {"turns": USER_HI}),
    "system": Scenario(
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "In Korean."}, *HI]},
        {"turns": USER_HI, "system": "Be brief.\n\nIn Korean."},
    ),
    "multi-turn": Scenario(
        {"messages": [*HI, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Bye"}]},
        {"turns": (*USER_HI, Turn("assistant", (Text("Hello."),)), Turn("user", (Text("Bye"),)))},
    ),
    "limits": Scenario({"messages": HI, "max_tokens": 50, "stop": ["END", "STOP"]}, {"max_tokens": 50, "stop": ("END", "STOP")}),
    "newer name of the limit": Scenario({"messages": HI, "max_completion_tokens": 50}, {"max_tokens": 50}),
    "tools offered": Scenario(
        {"messages": HI, "tools": [TOOL], "tool_choice": "auto"},
        {"tools": {"weather": WEATHER}, "tool_choice": "auto"},
        Script("", (ToolCall("weather", {"city": "Seoul"}),), Ending.TOOLS),
    ),
    "two tools called after words": Scenario(
        {"messages": HI, "tools": [TOOL], "tool_choice": "required"},
        {"tool_choice": "required"},
        Script("Let me see.", (ToolCall("weather", {"city": "a"}), ToolCall("weather", {"city": "b"}, "call_2")), Ending.TOOLS),
    ),
    "one tool named": Scenario(
        {"messages": HI, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tool_choice": "weather"},
        Script("", (ToolCall("weather", {"city": "Seoul"}),), Ending.TOOLS),
    ),
    "tools round trip": Scenario(
        {
            "messages": [
                *HI,
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"},
            ],
            "tools": [TOOL],
        },
        {
            "turns": (
                *USER_HI,
                Turn("assistant", (ToolCall("weather", {"city": "Seoul"}),)),
                Turn("tool", (ToolResult("call_1", "Sunny"),)),
            )
        },
    ),
    "JSON schema": Scenario(
        {
            "messages": HI,
            "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER, "strict": True}},
        },
        {"schema": WEATHER},
        Script('{"city":"Seoul"}'),
    ),
    "image in base64": Scenario(
        user({"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}),
        {"turns": (Turn("user", (Text("What?"), Image("image/png", PNG))),)},
    ),
    "image by address": Scenario(
        user({"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        {"turns": (Turn("user", (Text("What?"), Image(url="https://example.com/a.png"))),)},
    ),
    "PDF": Scenario(
        user(
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}},
            {"type": "text", "text": "Sum up"},
        ),
        {"turns": (Turn("user", (Document("application/pdf", PDF), Text("Sum up"))),)},
    ),
    "PDF as a document part": Scenario(
        user(
            {"type": "document", "document_url": {"url": f"data:application/pdf;base64,{PDF}"}},
            {"type": "text", "text": "Sum up"},
        ),
        {"turns": (Turn("user", (Document("application/pdf", PDF), Text("Sum up"))),)},
    ),
    "cut off": Scenario({"messages": HI}, script=Script("Once upon a", ending=Ending.LENGTH)),
    "refusal": Scenario({"messages": HI}, script=Script("", ending=Ending.REFUSAL)),
    "no details of the usage": Scenario({"messages": HI}, script=Script(usage=Usage(3, 2))),
}
KINDS = [
    FailureKind.RATE_LIMIT, FailureKind.OVERLOADED, FailureKind.TIMEOUT, FailureKind.BAD_REQUEST, FailureKind.AUTHENTICATION,
    FailureKind.QUOTA, FailureKind.CONTENT_FILTER, FailureKind.CONTEXT_TOO_LONG, FailureKind.SERVER,
]  # fmt: skip


@pytest.fixture(params=FAKE_PROVIDERS.values(), ids=FAKE_PROVIDERS)
def server(request: pytest.FixtureRequest) -> Iterator[ProviderServer]:
    """A server with the wire format whose turn it is."""
    with ProviderServer(request.param) as server:
        yield server


@pytest.fixture
async def balancer(server: ProviderServer) -> AsyncIterator[AsyncLoadBalancer]:
    """A balancer over that server alone."""
    endpoint = server.endpoint(models={"m": "m"})
    async with AsyncLoadBalancer([endpoint], enable_health_check=False, retry_count=0, timeout=5) as balancer:
        yield balancer


def expected_usage(fake: FakeProvider, used: Usage) -> Usage:
    return Usage(**{name: getattr(used, name) for name in fake.counts})


def assert_heard(received: ReceivedRequest, expected: Mapping[str, Any]) -> None:
    assert {name: getattr(received, name) for name in expected} == dict(expected)
    assert received.model == "m"


def refusal_of(server: ProviderServer, name: str) -> str | None:
    return server.fake.unsupported.get(name)


def assert_refused(result: ChatResult, param: str, server: ProviderServer) -> None:
    assert not result.success
    assert result.failure is not None and result.failure.status == 400
    assert param in (result.failure.param or "")
    assert param.rpartition(".")[2] in (result.error or "")
    assert not server.bodies, "it was sent all the same"


def assert_calls(message: Mapping[str, Any], expected: tuple[ToolCall, ...]) -> None:
    calls = message.get("tool_calls") or []
    assert [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls] == [
        (c.name, dict(c.arguments)) for c in expected
    ]
    assert len({call["id"] for call in calls}) == len(expected), "each call needs an id of its own"


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_whole_answer(name: str, server: ProviderServer, balancer: AsyncLoadBalancer) -> None:
    scenario = SCENARIOS[name]
    server.answer = scenario.script
    result = await balancer.chat(model="m", **scenario.fields)  # type: ignore[arg-type]
    if param := refusal_of(server, name):
        assert_refused(result, param, server)
        return
    assert result.success, (result.error, server.refused)
    assert_heard(server.received[0], scenario.received)
    ChatCompletion.model_validate(result.raw)
    assert (result.content or "") == scenario.script.text
    assert result.raw is not None and result.raw["choices"][0]["finish_reason"] == scenario.script.ending.value
    assert_calls(result.message, scenario.script.tool_calls)
    assert result.usage == expected_usage(server.fake, scenario.script.usage)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_streamed_answer(name: str, server: ProviderServer, balancer: AsyncLoadBalancer) -> None:
    if refusal_of(server, name):
        pytest.skip("refused, which the other test shows")
    scenario = SCENARIOS[name]
    server.answer = scenario.script
    chunks = [chunk async for chunk in await balancer.chat(model="m", stream=True, **scenario.fields)]  # type: ignore[call-overload]
    assert_heard(server.received[0], scenario.received)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk.raw)
    assert "".join(chunk.content for chunk in chunks) == scenario.script.text
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == [scenario.script.ending.value]
    assert_calls(_joined(chunks), scenario.script.tool_calls)
    assert [chunk.usage for chunk in chunks if chunk.usage] == [expected_usage(server.fake, scenario.script.usage)]


def _joined(chunks: list[Any]) -> dict[str, Any]:
    """Put the fragments of tool calls together as OpenAI's clients do: by index."""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk.raw["choices"]:
            for piece in choice["delta"].get("tool_calls") or ():
                call = calls.setdefault(piece["index"], {"id": piece.get("id"), "function": {"name": "", "arguments": ""}})
                call["function"]["name"] += piece["function"].get("name") or ""
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return {"tool_calls": [calls[index] for index in sorted(calls)]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_failure(kind: FailureKind, stream: bool, server: ProviderServer, balancer: AsyncLoadBalancer) -> None:
    reply = server.fake.fail(kind)
    if reply is None:
        pytest.skip("the service has no such answer")
    server.answer = reply
    fleet = await balancer._started()
    if stream:
        _, outcome = await streamed_chat(fleet, next(iter(fleet.endpoints)), {"model": "m", "messages": HI})
        failure = outcome.failure
    else:
        failure = (await chat(fleet, next(iter(fleet.endpoints)), {"model": "m", "messages": HI})).failure
    assert failure is not None
    assert failure.kind is kind, failure
    assert failure.status == reply.status
    if kind is FailureKind.RATE_LIMIT:
        assert failure.retry_after == pytest.approx(7, abs=1)
    assert "this is" in failure.message, "the provider's own words are kept"


async def test_a_sampling_field_is_passed_on_refused_or_dropped(server: ProviderServer, balancer: AsyncLoadBalancer) -> None:
    """A temperature arrives, or is refused by name; with `drop_params` it is left out instead."""
    result = await balancer.chat(HI, model="m", temperature=0.5)
    if result.success:
        assert server.received[0].temperature == 0.5
        return
    assert_refused(result, "temperature", server)
    dropping = replace(server.endpoint(models={"m": "m"}), drop_params=True, name="dropping")
    async with AsyncLoadBalancer([dropping], enable_health_check=False) as other:
        assert (await other.chat(HI, model="m", temperature=0.5)).success
    assert server.received[0].temperature is None


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b""),
        Reply(200, b"<html>busy</html>", {"content-type": "text/html"}),
        Reply(200, b'{"choi'),
        Reply(200, b"[1, 2]"),
        Reply(200, b"null"),
        Reply(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"}),
        Reply(500, b""),
        Reply(429, b"\xff\xfe not text"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_nonsense_is_an_error_that_says_what_came(
    reply: Reply, stream: bool, server: ProviderServer, balancer: AsyncLoadBalancer
) -> None:
    server.answer = reply
    fleet = await balancer._started()
    name = next(iter(fleet.endpoints))
    body = {"model": "m", "messages": HI, "stream": stream}
    outcome = (await streamed_chat(fleet, name, body))[1] if stream else await chat(fleet, name, body)
    assert outcome.failure is not None and outcome.failure.message
    if reply.status == 200:
        assert outcome.failure.kind is FailureKind.INVALID_RESPONSE
