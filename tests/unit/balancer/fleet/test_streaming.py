"""One streamed answer, read from a transport that plays the server."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import orjson
import pytest

from balancer.fleet.streaming import StreamReading
from balancer.http import HttpxClient, PreparedRequest
from balancer.outcome import NO_USAGE, FailureKind, Outcome, Usage
from balancer.providers import Call, adapter_for, sse
from balancer.providers.sse import EventTooLarge, event_data
from balancer.results import ChatChunk

SSE = {"content-type": "text/event-stream; charset=utf-8"}
REQUEST = PreparedRequest("POST", "http://gpu1:8000/v1/chat/completions", {})


class Body(httpx.AsyncByteStream):
    """Pieces of an answer, then perhaps an error; remembers that it was closed."""

    def __init__(self, pieces: Iterable[bytes], error: Exception | None = None) -> None:
        self.pieces, self.error, self.closed = pieces, error, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.error:
            raise self.error

    async def aclose(self) -> None:
        self.closed = True


def event(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": {"content": text} if text is not None else {}, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"model": "m", "choices": choices} | more) + b"\n\n"


DONE = b"data: [DONE]\n\n"
BODY = {"messages": [{"role": "user", "content": "two words"}]}


async def read(body: Body | bytes, status: int = 200, headers: dict[str, str] = SSE) -> tuple[list[ChatChunk], Outcome]:
    stream = Body([body]) if isinstance(body, bytes) else body
    transport = httpx.MockTransport(lambda request: httpx.Response(status, headers=headers, stream=stream))
    reading = StreamReading("GPU-1", adapter_for("openai"), Call("/chat/completions", b"{}", "m", True), BODY, 5.0)
    chunks = [chunk async for chunk in reading.chunks(HttpxClient(transport), REQUEST)]
    assert stream.closed
    return chunks, reading.outcome()


async def test_chunks_come_with_their_text_and_the_usage_at_the_end() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}, "service_tier": "flex"}
    body = event("Hel") + event("lo") + event(finish="stop") + event(**usage) + DONE
    chunks, outcome = await read(body, headers=SSE | {"x-request-id": "r1"})
    assert [chunk.content for chunk in chunks] == ["Hel", "lo", "", ""]
    assert [chunk.finish_reason for chunk in chunks] == [None, None, "stop", None]
    assert {chunk.endpoint for chunk in chunks} == {"GPU-1"}
    assert chunks[-1].usage == Usage(3, 2)
    assert (outcome.failure, outcome.usage, outcome.request_id, outcome.status) == (None, Usage(3, 2), "r1", 200)
    assert outcome.tier == "flex"


async def test_pieces_may_be_cut_anywhere() -> None:
    whole = event("Grüße") + event(finish="stop") + DONE
    chunks, _ = await read(Body([whole[i : i + 1] for i in range(len(whole))]))
    assert "".join(chunk.content for chunk in chunks) == "Grüße"


async def test_an_end_without_a_mark_is_an_end_if_the_answer_had_finished() -> None:
    _, outcome = await read(event("a") + event(finish="length"))
    assert outcome.failure is None


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        # ends in the middle
        (event("a"), FailureKind.CONNECTION, "broke off"),
        # ends before it began
        (b"", FailureKind.CONNECTION, "broke off"),
        # half an event
        (event("a") + b'data: {"cho\n\n', FailureKind.INVALID_RESPONSE, "not JSON"),
        # no object
        (b"data: [1]\n\n" + DONE, FailureKind.INVALID_RESPONSE, "no JSON object"),
        # the server says so itself
        (event("a") + b'data: {"error": {"message": "out of memory"}}\n\n' + DONE, FailureKind.SERVER, "out of memory"),
        (b'data: {"error": "oops"}\n\n' + DONE, FailureKind.SERVER, "oops"),
    ],
)
async def test_failures_are_reported(body: bytes, kind: FailureKind, said: str) -> None:
    _, outcome = await read(body)
    assert outcome.failure is not None
    assert outcome.failure.kind is kind
    assert said in outcome.failure.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("slow"), FailureKind.TIMEOUT),
        (httpx.ReadError("reset"), FailureKind.CONNECTION),
        (httpx.RemoteProtocolError("chunks"), FailureKind.CONNECTION),
    ],
)
async def test_a_connection_that_breaks_is_a_failure(error: Exception, kind: FailureKind) -> None:
    chunks, outcome = await read(Body([event("a")], error))
    assert [chunk.content for chunk in chunks] == ["a"]
    assert outcome.failure is not None
    assert outcome.failure.kind is kind


async def test_a_refusal_says_when_to_come_back() -> None:
    headers = {"content-type": "application/json", "retry-after": "7"}
    _, outcome = await read(b'{"error": {"message": "slow down"}}', 429, headers)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.retry_after) == (FailureKind.RATE_LIMIT, 7.0)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "whole"}, "whole"),
        ({"content": [{"text": "whole"}]}, "whole"),
        ({"content": None}, ""),
    ],
)
async def test_a_whole_answer_in_place_of_a_stream_is_cut_into_chunks(message: Any, text: str) -> None:
    body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})
    chunks, outcome = await read(body, headers={"content-type": "application/json"})
    assert "".join(chunk.content for chunk in chunks) == text
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert outcome.usage == Usage(1, 0)


@pytest.mark.parametrize("message", ["odd", None])
async def test_a_whole_answer_that_is_none_is_a_failure(message: Any) -> None:
    body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    chunks, outcome = await read(body, headers={"content-type": "application/json"})
    assert not chunks
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.INVALID_RESPONSE


async def test_a_reader_who_leaves_says_nothing_of_the_endpoint_and_closes_the_answer() -> None:
    body = Body([event("a"), event("b")])
    reading = StreamReading("GPU-1", adapter_for("openai"), Call("/chat/completions", b"{}", "m", True), BODY, 5.0)
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=SSE, stream=body))
    chunks = reading.chunks(HttpxClient(transport), REQUEST)
    assert (await anext(chunks)).content == "a"
    await chunks.aclose()
    assert body.closed
    outcome = reading.outcome()
    assert (outcome.failure, outcome.abandoned) == (None, True)
    assert (outcome.usage, outcome.guessed) == (Usage(2, 1), True)


async def events(*pieces: bytes) -> list[bytes]:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [data async for data in event_data(source())]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        # carriage returns, and no space after the colon
        (b"data:a\r\n\r\n", [b"a"]),
        # one space is no part of the data, a second one is
        (b"data:  a\n\n", [b" a"]),
        # several lines make one event
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        # comments, names, ids and empty events are nothing
        (b": ping\n\nevent: x\nid: 1\n\n\n\ndata: a\n\n", [b"a"]),
        # the last one may have no end
        (b"data: a\n", [b"a"]),
        (b"", []),
    ],
)
async def test_the_data_of_events(text: bytes, data: list[bytes]) -> None:
    assert await events(text) == data
    assert await events(*(text[i : i + 1] for i in range(len(text)))) == data


@pytest.mark.parametrize("line", [b"x" * 10, b"data: x\n"])
async def test_an_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(EventTooLarge):
        await events(*[line] * 2000)


async def test_many_small_events_are_not_taken_for_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    assert len(await events(*[b"data: abc\n\n"] * 100)) == 100


async def test_a_stream_without_a_chunk_is_no_answer() -> None:
    chunks, outcome = await read(DONE)
    assert not chunks
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.INVALID_RESPONSE


@pytest.mark.parametrize(
    ("body", "finished"),
    [
        (event("abcdefgh") + event(finish="stop") + DONE, True),  # no counts at all
        (event("abcdefgh") + event(finish="stop"), True),  # it broke off before they came
        (event("abcdefgh"), False),  # it broke off
    ],
)
async def test_tokens_that_are_not_reported_are_estimated(body: bytes, finished: bool) -> None:
    _, outcome = await read(body)
    assert (outcome.failure is None) is finished
    assert (outcome.usage, outcome.guessed) == (Usage(2, 2), True)


async def test_nothing_is_guessed_for_a_stream_that_never_began() -> None:
    _, outcome = await read(b"{}", status=500)
    assert (outcome.usage, outcome.guessed) == (NO_USAGE, False)
