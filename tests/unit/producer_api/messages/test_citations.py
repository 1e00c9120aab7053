"""Citations of a chat's answer, in blocks of a message."""

from typing import Any

import orjson

from balancer.outcome import NO_USAGE
from balancer.results import ChatChunk
from producer_api.messages.answers import message_object
from producer_api.messages.events import MessageEvents

QUOTE = {"type": "char_location", "cited_text": "q", "document_index": 0}
OTHER = {**QUOTE, "document_index": 1}


def cited(citation: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    return {"start_index": start, "end_index": end, **citation}


def test_a_text_is_cut_where_its_citations_begin_and_end() -> None:
    citations = [cited(QUOTE, 3, 8), cited(OTHER, 3, 8), cited(QUOTE, 8, 9)]
    message = {"role": "assistant", "content": "So it is. Yes.", "citations": citations}
    made = message_object({"choices": [{"message": message, "finish_reason": "stop"}]}, "m", NO_USAGE)
    assert [(block["text"], block["citations"]) for block in made["content"]] == [
        ("So ", None),
        ("it is", [QUOTE, OTHER]),
        (".", [QUOTE]),
        (" Yes.", None),
    ]


def chunk(**delta: Any) -> ChatChunk:
    return ChatChunk(delta.get("content", ""), "a", raw={"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def test_a_streamed_passage_is_a_block_with_its_citations() -> None:
    events = MessageEvents("m")
    deltas: list[dict[str, Any]] = [
        {"content": "So "},
        {"citations": []},
        {"content": "it is"},
        {"citations": [cited(QUOTE, 3, 8)]},
        {"content": "."},
    ]
    lines = b"".join(line for delta in deltas for line in events.take(chunk(**delta))).splitlines()
    events_sent = [orjson.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    shown = [(each["index"], each["delta"]["type"]) for each in events_sent if each["type"] == "content_block_delta"]
    assert shown == [(0, "text_delta"), (1, "text_delta"), (1, "citations_delta"), (2, "text_delta")]
    assert [each["delta"]["citation"] for each in events_sent if each.get("delta", {}).get("type") == "citations_delta"] == [
        QUOTE
    ]
    assert [each["index"] for each in events_sent if each["type"] == "content_block_stop"] == [0, 1]
