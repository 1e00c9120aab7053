"""OpenAI's Responses API. What is said is checked with the types of OpenAI's own SDK."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import orjson
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseCreatedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseIncompleteEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
)
from pydantic import BaseModel

from balancer.endpoint import Endpoint
from balancer.outcome import Usage
from tests.fake_providers.base import (
    KEY,
    Document,
    Ending,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)  # fmt: skip
from tests.fake_providers.fake_openai import OpenAIFakeProvider

__all__ = ["FAKE", "ResponsesFakeProvider"]

_KNOWN = {
    "model", "input", "instructions", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice", "reasoning", "text",
    "stream", "store", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "parallel_tool_calls", "service_tier", "truncation",
}  # fmt: skip
_REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Let me think."}], "status": None}
_EVENTS: dict[str, type[BaseModel]] = {
    "response.created": ResponseCreatedEvent,
    "response.output_item.added": ResponseOutputItemAddedEvent,
    "response.output_item.done": ResponseOutputItemDoneEvent,
    "response.content_part.added": ResponseContentPartAddedEvent,
    "response.output_text.delta": ResponseTextDeltaEvent,
    "response.output_text.done": ResponseTextDoneEvent,
    "response.function_call_arguments.delta": ResponseFunctionCallArgumentsDeltaEvent,
    "response.function_call_arguments.done": ResponseFunctionCallArgumentsDoneEvent,
    "response.completed": ResponseCompletedEvent,
    "response.incomplete": ResponseIncompleteEvent,
}


class ResponsesFakeProvider(OpenAIFakeProvider):
    """The same errors and model list as for chat completions."""

    unsupported: Mapping[str, str] = {"limits": "stop"}

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        return Endpoint(f"{address}/v1", provider=self.provider, api_key=KEY, options={"api": "responses"}, **settings)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        if path != "/v1/responses":
            raise Refused(f"no such path: {path}")
        if headers.get("authorization") != f"Bearer {KEY}":
            raise Refused("no key")
        request = orjson.loads(body)
        if unknown := request.keys() - _KNOWN:
            raise Refused(f"Unknown parameter: {sorted(unknown)}")
        turns = _turns(request["input"])
        later = [part.text for turn in turns if turn.role in ("system", "developer") for part in turn.parts]
        format = request.get("text", {}).get("format", {})
        return ReceivedRequest(
            model=request["model"],
            turns=tuple(turn for turn in turns if turn.role not in ("system", "developer")),
            system="\n\n".join(filter(None, [request.get("instructions"), *later])),
            tools={tool["name"]: tool["parameters"] for tool in map(_tool, request.get("tools", ()))},
            tool_choice=_tool_choice(request.get("tool_choice")),
            schema=_schema(format) if format.get("type") == "json_schema" else None,
            max_tokens=request.get("max_output_tokens"),
            temperature=request.get("temperature"),
            stream=request.get("stream", False),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        response = _response(script, received, _items(script))
        Response.model_validate(response)
        return Reply(200, orjson.dumps(response))

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        number = count()
        for event in _events(script, received):
            event["sequence_number"] = next(number)
            _EVENTS[event["type"]].model_validate(event)
            yield b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def _turns(items: list[dict[str, Any]]) -> list[Turn]:
    """Read the items; a call belongs to the assistant's turn before it, if that is where it stands."""
    turns: list[Turn] = []
    for item in items:
        turn = _turn(item)
        if turns and turn.role == "assistant" and turns[-1].role == "assistant":
            turn = Turn("assistant", turns.pop().parts + turn.parts)
        turns.append(turn)
    return turns


def _turn(item: dict[str, Any]) -> Turn:
    kind = item.get("type", "message")
    if kind == "function_call":
        return Turn("assistant", (ToolCall(item["name"], orjson.loads(item["arguments"]), item["call_id"]),))
    if kind == "function_call_output":
        return Turn("tool", (ToolResult(item["call_id"], item["output"]),))
    if kind != "message" or item.keys() - {"role", "content", "type"}:
        raise Refused(f"unknown item or field: {item}")
    content = item["content"]
    if isinstance(content, str):
        return Turn(item["role"], (Text(content),) if content else ())
    return Turn(item["role"], tuple(_part(part, item["role"]) for part in content))


def _part(part: dict[str, Any], role: str) -> Any:
    kind = part["type"]
    if kind == ("output_text" if role == "assistant" else "input_text"):
        return Text(part["text"])
    if role != "assistant" and kind == "input_image":
        if part["detail"] not in ("auto", "low", "high", "original"):
            raise Refused("detail")
        url = part["image_url"]
        return Image(*_data(url)) if url.startswith("data:") else Image(url=url)
    if role != "assistant" and kind == "input_file":
        if part.keys() != {"type", "filename", "file_data"}:
            raise Refused(f"an input_file with {sorted(part)}")
        return Document(*_data(part["file_data"]))
    raise Refused(f"{role} can't have a part of the type {kind}")


def _data(url: str) -> tuple[str, str]:
    head, _, data = url.removeprefix("data:").partition(",")
    return head.removesuffix(";base64"), data


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function" or not {"name", "parameters", "strict"} <= tool.keys():
        raise Refused(f"no flat tool: {sorted(tool)}")
    return tool


def _tool_choice(choice: Any) -> str | None:
    return choice["name"] if isinstance(choice, dict) else choice


def _schema(format: dict[str, Any]) -> Any:
    if not format.get("name"):
        raise Refused("text.format.name")
    return format["schema"]


def _items(script: Script) -> list[dict[str, Any]]:
    items = [_REASONING]
    if script.text:
        part = {"type": "output_text", "text": script.text, "annotations": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
    for call in script.tool_calls:
        arguments = orjson.dumps(call.arguments).decode()
        items.append(
            {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name, "arguments": arguments}
        )
    return items


def _response(script: Script, received: ReceivedRequest, items: list[dict[str, Any]], status: str = "") -> dict[str, Any]:
    reason = {Ending.LENGTH: "max_output_tokens", Ending.REFUSAL: "content_filter"}.get(script.ending)
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status or ("incomplete" if reason else "completed"),
        "error": None,
        "incomplete_details": {"reason": reason} if reason and not status else None,
        "model": received.model,
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if status else _usage(script.usage),
    }
    return response


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def _events(script: Script, received: ReceivedRequest) -> Iterator[dict[str, Any]]:
    items = _items(script)
    yield {"type": "response.created", "response": _response(script, received, [], "in_progress")}
    for place, item in enumerate(items):
        begun = {**item, **({"content": []} if item["type"] == "message" else {})}
        if item["type"] == "function_call":
            begun["arguments"] = ""
        yield {"type": "response.output_item.added", "output_index": place, "item": begun}
        if item["type"] == "message":
            yield from _text_events({"output_index": place, "item_id": item["id"], "content_index": 0}, item["content"][0])
        if item["type"] == "function_call":
            yield from _argument_events({"output_index": place, "item_id": item["id"]}, item)
        yield {"type": "response.output_item.done", "output_index": place, "item": item}
    response = _response(script, received, items)
    yield {"type": f"response.{response['status']}", "response": response}


def _text_events(where: dict[str, Any], part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = part["text"]
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in filter(None, (text[: len(text) // 2], text[len(text) // 2 :])):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": [], "obfuscation": "x7q"}
    yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}


def _argument_events(where: dict[str, Any], item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text = item["arguments"]
    for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
        yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    yield {"type": "response.function_call_arguments.done", **where, "name": item["name"], "arguments": text}


FAKE = ResponsesFakeProvider()
