"""Amazon Bedrock's Converse API, by the service's own description in botocore."""

import binascii
import functools
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.session import Session
from botocore.validate import ParamValidator

from balancer.endpoint import Endpoint
from balancer.outcome import FailureKind, Usage
from tests.fake_providers.base import (
    KEY,
    Document,
    Ending,
    FakeProvider,
    Image,
    ReceivedRequest,
    Refused,
    Reply,
    Script,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)  # fmt: skip

__all__ = ["ACCESS_KEY", "FAKE", "REGION", "SECRET_KEY", "BedrockFakeProvider"]

ACCESS_KEY, SECRET_KEY, REGION = "AKIDEXAMPLE", "secret-of-a-test", "us-east-1"
"""What signs requests without a bearer's key."""
SIGNATURE = "c2lnbmVk"


class BedrockFakeProvider(FakeProvider):
    """Requests and answers are checked with the service's own shapes."""

    provider = "bedrock"
    counts = ("prompt", "completion", "cached", "cache_write")
    unsupported: Mapping[str, str] = {"image by address": "image_url.url"}
    stream_type = "application/vnd.amazon.eventstream"

    def prepare(self) -> None:
        _shape("Converse", "input")

    def endpoint(self, address: str, **settings: Any) -> Endpoint:
        options = {"region": REGION, **settings.pop("options", {})}
        return Endpoint(address, provider=self.provider, **{"api_key": KEY, **settings}, options=options)

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        _, model, operation = path.strip("/").split("/")
        if operation not in ("converse", "converse-stream"):
            raise Refused(f"no such operation: {operation}")
        _check_identity(path, headers, body)
        request = orjson.loads(body)
        _check("Converse", "input", {"modelId": unquote(model), **request})
        config, format = request.get("inferenceConfig", {}), request.get("outputConfig", {}).get("textFormat")
        return ReceivedRequest(
            model=unquote(model),
            turns=tuple(turn for message in request["messages"] for turn in _turns(message)),
            system="\n\n".join(block["text"] for block in request.get("system", ()) if "text" in block),
            tools={t["toolSpec"]["name"]: t["toolSpec"]["inputSchema"]["json"] for t in _tools(request) if "toolSpec" in t},
            tool_choice=_choice(request.get("toolConfig", {}).get("toolChoice")),
            schema=orjson.loads(format["structure"]["jsonSchema"]["schema"]) if format else None,
            stop=tuple(config.get("stopSequences", ())),
            max_tokens=config.get("maxTokens"),
            temperature=config.get("temperature"),
            stream=operation == "converse-stream",
            service_tier=request.get("serviceTier", {}).get("type"),
        )

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        answer = {
            "output": {"message": {"role": "assistant", "content": _content(script)}},
            "stopReason": _REASONS[script.ending],
            "usage": _usage(script.usage),
            "metrics": {"latencyMs": 5},
            **({"serviceTier": {"type": received.service_tier}} if received.service_tier else {}),
        }
        _check("Converse", "output", answer)
        return Reply(200, orjson.dumps(answer))

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        yield _event("messageStart", {"role": "assistant"})
        yield _event("yetToBeInvented", {"delta": 7})
        for index, block in enumerate(_content(script)):
            place = {"contentBlockIndex": index}
            for event, what in _pieces(block):
                yield _event(event, {**what, **place})
            yield _event("contentBlockStop", place)
        yield _event("messageStop", {"stopReason": _REASONS[script.ending]})
        last = _event("metadata", {"usage": _usage(script.usage), "metrics": {"latencyMs": 5}})
        yield last[:7]
        yield last[7:]

    def unfinished_event(self, size: int) -> bytes:
        prelude = struct.pack(">II", size + 1_000_000, 0)
        return prelude + struct.pack(">I", binascii.crc32(prelude)) + b"x" * size

    def fail(self, kind: FailureKind) -> Reply | None:
        if kind not in _FAILURES:
            return None
        status, name, words = _FAILURES[kind]
        headers = {"content-type": "application/json", "x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
        headers |= {"retry-after": "7"} if kind is FailureKind.RATE_LIMIT else {}
        return Reply(status, orjson.dumps({"message": f"this is {kind.name}{words}"}), headers)

    def refuse(self, reason: str) -> Reply:
        headers = {"content-type": "application/json", "x-amzn-errortype": "ValidationException"}
        return Reply(400, orjson.dumps({"message": reason}), headers)


_REASONS = {
    Ending.STOP: "end_turn",
    Ending.LENGTH: "max_tokens",
    Ending.TOOLS: "tool_use",
    Ending.REFUSAL: "content_filtered",
}
_FAILURES = {
    FailureKind.RATE_LIMIT: (429, "ThrottlingException", ""),
    FailureKind.OVERLOADED: (503, "ServiceUnavailableException", ""),
    FailureKind.TIMEOUT: (408, "ModelTimeoutException", ""),
    FailureKind.BAD_REQUEST: (400, "ValidationException", ""),
    FailureKind.AUTHENTICATION: (403, "AccessDeniedException", ""),
    FailureKind.CONTEXT_TOO_LONG: (400, "ValidationException", ": Input is too long for requested model."),
    FailureKind.SERVER: (500, "InternalServerException", ""),
}


def _check_identity(path: str, headers: Mapping[str, str], body: bytes) -> None:
    given = headers.get("authorization", "")
    if given == f"Bearer {KEY}":
        return
    if not given.startswith("AWS4-HMAC-SHA256 "):
        raise Refused("neither a key nor a signature")
    signed = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    others = {name: headers[name] for name in signed if name != "host"}
    request = AWSRequest("POST", f"http://{headers['host']}{path}", data=body, headers=others)
    request.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "bedrock", REGION)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if given.rpartition("Signature=")[2] != expected:
        raise Refused("the signature does not match")
    datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")


@functools.cache
def _shape(operation: str, side: str) -> Any:
    model = Session().get_service_model("bedrock-runtime").operation_model(operation)
    return model.input_shape if side == "input" else model.output_shape


def _check(operation: str, side: str, value: Mapping[str, Any]) -> None:
    """Refuse what the service's description does not allow: unknown members, wrong types, missing members."""
    shape = _shape(operation, side)
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise Refused(report.generate_report())
    _check_known(value, shape, operation)


def _check_known(value: Any, shape: Any, place: str) -> None:
    if shape.type_name == "structure" and not shape.is_document_type:
        if unknown := set(value) - set(shape.members):
            raise Refused(f"{place}: unknown members {sorted(unknown)}")
        if shape.is_tagged_union and len(value) != 1:
            raise Refused(f"{place}: one member has to be there (got {sorted(value)})")
        for name, each in value.items():
            _check_known(each, shape.members[name], f"{place}.{name}")
    elif shape.type_name == "list":
        for each in value:
            _check_known(each, shape.member, f"{place}[]")


def _tools(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = request.get("toolConfig", {}).get("tools", [])
    return tools


def _choice(choice: Mapping[str, Any] | None) -> str | None:
    if choice is None:
        return None
    [(kind, what)] = choice.items()
    return what["name"] if kind == "tool" else {"auto": "auto", "any": "required"}[kind]


def _turns(message: Mapping[str, Any]) -> Iterator[Turn]:
    parts = [_part(block) for block in message["content"] if "cachePoint" not in block]
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    others = tuple(part for part in parts if not isinstance(part, ToolResult))
    if results:
        yield Turn("tool", results)
    if others:
        yield Turn(message["role"], others)


def _part(block: Mapping[str, Any]) -> Any:
    [(kind, what)] = block.items()
    match kind:
        case "text":
            return Text(what)
        case "toolUse":
            return ToolCall(what["name"], what["input"], what["toolUseId"])
        case "toolResult":
            text = "".join(each["text"] for each in what["content"])
            return ToolResult(what["toolUseId"], "Error: " + text if what.get("status") == "error" else text)
        case "image":
            return Image(f"image/{what['format']}", what["source"]["bytes"])
        case "document":
            return Document({"pdf": "application/pdf", "txt": "text/plain"}[what["format"]], next(iter(what["source"].values())))
        case "reasoningContent":
            return Thought(what["reasoningText"]["text"] if "reasoningText" in what else "")
    raise Refused(f"no such block: {kind}")


def _content(script: Script) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if script.usage.reasoning:
        blocks.append({"reasoningContent": {"reasoningText": {"text": "Well, well.", "signature": SIGNATURE}}})
    if script.text:
        blocks.append({"text": script.text})
    return blocks + [{"toolUse": {"toolUseId": c.id, "name": c.name, "input": dict(c.arguments)}} for c in script.tool_calls]


def _pieces(block: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the events of a block: how it begins, if that is said, and what is added to it."""
    [(kind, what)] = block.items()
    if kind == "text":
        for piece in _halves(what):
            yield "contentBlockDelta", {"delta": {"text": piece}}
    elif kind == "toolUse":
        yield "contentBlockStart", {"start": {"toolUse": {"toolUseId": what["toolUseId"], "name": what["name"]}}}
        for piece in _halves(orjson.dumps(what["input"]).decode()):
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": piece}}}
    else:
        for piece in _halves(what["reasoningText"]["text"]):
            yield "contentBlockDelta", {"delta": {"reasoningContent": {"text": piece}}}
        yield "contentBlockDelta", {"delta": {"reasoningContent": {"signature": SIGNATURE}}}


def _halves(text: str) -> list[str]:
    return [piece for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if piece]


def _usage(usage: Usage) -> dict[str, Any]:
    cached = {"cacheReadInputTokens": usage.cached} if usage.cached else {}
    written = {"cacheWriteInputTokens": usage.cache_write} if usage.cache_write else {}
    return {
        "inputTokens": usage.prompt - usage.cached - usage.cache_write,
        "outputTokens": usage.completion,
        "totalTokens": usage.prompt + usage.completion,
        **cached,
        **written,
    }


def _event(name: str, payload: Mapping[str, Any]) -> bytes:
    """Return a message of AWS' event stream (docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html)."""
    body = orjson.dumps(payload)
    headers = b"".join(
        struct.pack(">B", len(key)) + key + b"\x07" + struct.pack(">H", len(value)) + value
        for key, value in (
            (b":event-type", name.encode()),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack(">I", binascii.crc32(prelude))
    message = prelude + headers + body
    return message + struct.pack(">I", binascii.crc32(message))


FAKE = BedrockFakeProvider()
