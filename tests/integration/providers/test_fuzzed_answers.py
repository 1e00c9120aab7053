"""Answers that are cut off, bent, broken, huge or slow: whatever comes, there is an outcome that says so, and nothing is raised.

Every wire format goes through the same cases, made from answers of its fake provider.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from balancer import AsyncLoadBalancer
from balancer.fleet.streaming import StreamReading, chunks_of
from balancer.http import HttpxClient, PreparedRequest
from balancer.outcome import Failure, FailureKind, Outcome
from balancer.providers import Adapter, Call, adapter_for
from balancer.results import ChatChunk, text_of
from tests.fake_providers import FAKE_PROVIDERS, Ending, FakeProvider, ProviderServer, ReceivedRequest, Reply, Script, ToolCall
from tests.fleet_calls import chat, streamed_chat
from tests.raw_server import serve_raw

PATH = "/chat/completions"
FORMATS = sorted(FAKE_PROVIDERS.keys() - {"azure", "mistral"})
"""Those two answer as OpenAI does; what differs is in the requests."""
AS_IT_CAME = {"openai", "vllm"}
"""Providers whose adapter passes answers on as they came: what is not read here (`created`, `logprobs` …) may be anything."""
SECRET = "the plan, which no error may show"
SCRIPTS = (
    Script(SECRET),
    Script("", (ToolCall("weather", {"city": "a"}), ToolCall("weather", {"city": "b"}, "call_2")), Ending.TOOLS),
    Script(SECRET, ending=Ending.LENGTH),
    Script("", ending=Ending.REFUSAL),
)
INSTEAD = (None, 5, -1.5, True, "odd", [], ["odd"], [None], {}, {"odd": 1})
BROKEN_EVENTS = (b"{", b"null", b"[]", b'"odd"', b"5", b"{}", b"\xff\xfe", b"", b"[DONE]", b'{"error": {}}', b'{"error": "odd"}')
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass(frozen=True)
class RecordedExchange:
    """One wire format, with a request made in it."""

    name: str
    fake: FakeProvider
    adapter: Adapter
    call: Call
    received: ReceivedRequest

    @property
    def handed_on(self) -> bool:
        return self.name in AS_IT_CAME

    @property
    def script(self) -> list[Script]:
        return [script for script in SCRIPTS if calls_tools(self.fake) or not script.tool_calls]


def calls_tools(fake: FakeProvider) -> bool:
    return "tools offered" not in fake.unsupported


def request_of(fake: FakeProvider, stream: bool) -> dict[str, Any]:
    return {**REQUEST, "stream": stream, **({"tools": [TOOL]} if calls_tools(fake) else {})}


def spoken(name: str, stream: bool) -> RecordedExchange:
    fake = FAKE_PROVIDERS[name]
    adapter = adapter_for(fake.provider)
    endpoint = fake.endpoint("http://h", models={"m": "m"})
    call = adapter.call(endpoint, PATH, request_of(fake, stream))
    url = urlsplit(endpoint.url + call.path)
    headers = {name.lower(): value for name, value in adapter.headers(endpoint).items()}
    received = fake.read_request(url.path + (f"?{url.query}" if url.query else ""), headers, call.body)
    return RecordedExchange(name, fake, adapter, call, received)


@pytest.fixture(params=FORMATS)
def whole(request: pytest.FixtureRequest) -> RecordedExchange:
    """A format whose turn it is, asked for a whole answer."""
    return spoken(request.param, stream=False)


@pytest.fixture(params=[name for name in FORMATS if FAKE_PROVIDERS[name].streams])
def streamed(request: pytest.FixtureRequest) -> RecordedExchange:
    """The same, asked for a stream."""
    return spoken(request.param, stream=True)


def test_an_answer_that_is_cut_off_is_no_answer(whole: RecordedExchange) -> None:
    problems = []
    for script in whole.script:
        body = whole.fake.whole_answer(script, whole.received).body
        for end in range(0, len(body), 3):
            answer = whole.adapter.answer(whole.call, 200, {}, body[:end])
            if answer.failure is None or answer.body:
                problems.append(f"{end} of {len(body)} bytes are taken for an answer")
            problems += what_is_wrong_with(answer.failure, f"{end} of {len(body)} bytes")
    assert not problems, report(problems)


def test_an_answer_with_a_wrong_type_anywhere_is_well_formed_or_refused(whole: RecordedExchange) -> None:
    problems = []
    for script in whole.script:
        good = orjson.loads(whole.fake.whole_answer(script, whole.received).body)
        assert not problems_of_answer(whole, good, "the good answer")
        for place, bent in bendings(good):
            problems += problems_of_answer(whole, bent, place)
    assert not problems, report(problems)


def problems_of_answer(spoken: RecordedExchange, body: Any, place: str) -> list[str]:
    try:
        answer = spoken.adapter.answer(spoken.call, 200, {}, orjson.dumps(body))
        if answer.failure is not None:
            return what_is_wrong_with(answer.failure, place)
        completion = orjson.loads(answer.body)
        ChatCompletion.model_validate(as_read(completion, "message") if spoken.handed_on else completion)
        for chunk in chunks_of(completion):
            text_of(chunk["choices"])
        assert answer.parsed is None or answer.parsed == completion, "the body is other than what was read"
        assert b"\n" not in answer.body
    except Exception as exc:
        return [f"{place}: {type(exc).__name__}: {str(exc)[:200]}"]
    return []


async def test_a_stream_that_is_cut_off_does_not_pass_for_a_whole_one(streamed: RecordedExchange) -> None:
    problems = []
    for script in streamed.script:
        pieces = list(streamed.fake.stream(script, streamed.received))
        body = b"".join(pieces)
        ends = {sum(map(len, pieces[:n])) for n in range(len(pieces))} | set(range(0, len(body), 1 + len(body) // 150))
        for end in sorted(ends):
            problems += await problems_of_stream(streamed, body[:end], f"{end} of {len(body)} bytes", script)
        assert not await problems_of_stream(streamed, body, "the good stream", script)
    assert not problems, report(problems)


async def test_a_stream_with_a_broken_event_is_an_error_or_goes_on(streamed: RecordedExchange) -> None:
    problems = []
    for script in streamed.script[:3]:
        pieces = list(streamed.fake.stream(script, streamed.received))
        for n in range(len(pieces)):
            for broken in BROKEN_EVENTS:
                body = b"".join([*pieces[:n], b"data: " + broken + b"\n\n", *pieces[n + 1 :]])
                problems += await problems_of_stream(streamed, body, f"event {n} is {broken!r}")
    assert not problems, report(problems)


async def test_a_stream_with_a_wrong_type_anywhere_is_well_formed_or_refused(streamed: RecordedExchange) -> None:
    problems = []
    for script in streamed.script[:2]:
        pieces = list(streamed.fake.stream(script, streamed.received))
        for n, piece in enumerate(pieces):
            before, _, data = piece.partition(b"data: ")
            for place, bent in bendings(orjson.loads(data)) if data.startswith(b"{") else ():
                event = before + b"data: " + orjson.dumps(bent) + b"\n\n"
                body = b"".join([*pieces[:n], event, *pieces[n + 1 :]])
                problems += await problems_of_stream(streamed, body, f"event {n}{place}")
    assert not problems, report(problems)


async def problems_of_stream(spoken: RecordedExchange, body: bytes, place: str, script: Script | None = None) -> list[str]:
    """Read a stream. With `script`, one that ends well must hold all of it."""
    try:
        chunks, outcome = await read_stream(spoken, body)
        if outcome.failure is not None:
            return what_is_wrong_with(outcome.failure, place)
        for chunk in chunks:
            ChatCompletionChunk.model_validate(as_read(chunk.raw, "delta") if spoken.handed_on else chunk.raw)
        if script is not None:
            assert "".join(chunk.content for chunk in chunks) == script.text, "half an answer passes for a whole one"
            assert [c.finish_reason for c in chunks if c.finish_reason] == [script.ending.value]
    except Exception as exc:
        return [f"{place}: {type(exc).__name__}: {str(exc)[:200]}"]
    return []


async def read_stream(spoken: RecordedExchange, body: bytes) -> tuple[list[ChatChunk], Outcome]:
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, stream=httpx.ByteStream(body)))
    reading = StreamReading("e", spoken.adapter, spoken.call, REQUEST, timeout=5)
    chunks = [chunk async for chunk in reading.chunks(HttpxClient(transport), PreparedRequest("POST", "http://h", {}))]
    return chunks, reading.outcome()


def bendings(good: Any) -> Iterator[tuple[str, Any]]:
    """Yield copies of a JSON value in which one node is something else, or left out; each with the node's place."""
    for path in paths(good):
        place = "".join(f"[{step!r}]" for step in path)
        for instead in INSTEAD:
            bent = deepcopy(good)
            at(bent, path[:-1])[path[-1]] = instead
            yield f"{place} = {instead!r}", bent
        bent = deepcopy(good)
        del at(bent, path[:-1])[path[-1]]
        yield f"{place} left out", bent


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (*so_far, step)
        yield from paths(inner, (*so_far, step))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def as_read(raw: Mapping[str, Any], holder: str) -> dict[str, Any]:
    """Return what readers rely upon of a completion (`message`) or a chunk (`delta`), the rest filled in."""
    kind = "chat.completion" if holder == "message" else "chat.completion.chunk"
    choices = []
    for number, choice in enumerate(raw["choices"]):
        said = choice[holder]
        calls = [{**call, "id": "c", "index": 0, "type": "function"} for call in said.get("tool_calls") or ()]
        reason = choice.get("finish_reason")
        assert reason is None or isinstance(reason, str)
        message = {"role": "assistant", "content": text_of(said.get("content")), "tool_calls": calls}
        choices.append({"index": number, holder: message, "finish_reason": "stop"})
    return {"id": "x", "object": kind, "created": 1, "model": "m", "choices": choices}


def what_is_wrong_with(failure: Failure | None, place: str) -> list[str]:
    if failure is None:
        return []
    if not failure.message.strip():
        return [f"{place}: a failure without a word"]
    return [f"{place}: the answer is quoted: {failure.message}"] if SECRET[:12] in failure.message else []


def report(problems: list[str]) -> str:
    return f"{len(problems)} problems:\n" + "\n".join(problems[:40])


@pytest.mark.parametrize("name", FORMATS)
async def test_a_huge_answer_is_read_and_a_huge_event_is_refused(name: str) -> None:
    with ProviderServer(FAKE_PROVIDERS[name]) as server:
        async with AsyncLoadBalancer([server.endpoint(models={"m": "m"})], enable_health_check=False, timeout=20) as balancer:
            server.answer = Script("x" * 20_000_000)
            outcome = await sent(balancer)
            assert outcome.failure is None and outcome.parsed is not None
            assert len(outcome.parsed["choices"][0]["message"]["content"]) == 20_000_000
            server.answer = Reply(200, b"[" * 20_000_000)
            assert (await sent(balancer)).failure is not None
            endless = server.fake.unfinished_event(17_000_000)
            server.answer = Reply(200, endless, {"content-type": server.fake.stream_type})
            outcome = await streamed_to_the_end(balancer)
            assert outcome.failure is not None and outcome.failure.kind is FailureKind.INVALID_RESPONSE, outcome
            assert "larger than" in outcome.failure.message


@pytest.fixture
async def drip() -> AsyncIterator[str]:
    """The address of a server that answers with one byte every hundredth of a second, until the test is over."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read(100_000)
        streamed = b'"stream":true' in asked or b":streamGenerateContent" in asked
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\ncontent-type: ")
        writer.write(b"text/event-stream\r\n\r\n:" if streamed else b"application/json\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.01)

    async with serve_raw(answer) as url:
        yield url.removesuffix("/v1")


async def test_an_answer_that_drips_is_given_up_when_the_time_is_over(drip: str) -> None:
    endpoints = [fake.endpoint(drip, models={"m": "m"}, name=name) for name, fake in FAKE_PROVIDERS.items()]
    async with AsyncLoadBalancer(endpoints, enable_health_check=False, timeout=0.5) as balancer:
        started = time.monotonic()
        asked = [ask(balancer, name) for name in FAKE_PROVIDERS for ask in (sent, streamed_to_the_end)]
        outcomes = await asyncio.gather(*asked)
        assert time.monotonic() - started < 5
    for outcome in outcomes:
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.TIMEOUT, outcome
        assert "0.5 s" in outcome.failure.message


async def sent(balancer: AsyncLoadBalancer, name: str | None = None) -> Outcome:
    fleet = await balancer._started()
    return await chat(fleet, name or next(iter(fleet.endpoints)), REQUEST)


async def streamed_to_the_end(balancer: AsyncLoadBalancer, name: str | None = None) -> Outcome:
    fleet = await balancer._started()
    _, outcome = await streamed_chat(fleet, name or next(iter(fleet.endpoints)), REQUEST)
    return outcome
