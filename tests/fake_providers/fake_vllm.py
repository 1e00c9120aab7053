"""vLLM's OpenAI server, as 0.32 answers."""

from collections.abc import Iterator, Mapping

import orjson

from balancer.outcome import FailureKind
from tests.fake_providers.base import ReceivedRequest, Refused, Reply, Script
from tests.fake_providers.fake_openai import OpenAIFakeProvider

__all__ = ["FAKE", "VLLMFakeProvider"]

_PARTS = {"text", "image_url", "image_embeds", "audio_url", "audio_embeds", "video_url", "input_audio", "refusal", "thinking"}
_ERRORS = {
    FailureKind.OVERLOADED: (503, "ServiceUnavailableError", "this is a full queue"),
    FailureKind.BAD_REQUEST: (400, "BadRequestError", "this is BAD_REQUEST. (parameter=temperature, value=-3.0)"),
    FailureKind.CONTEXT_TOO_LONG: (
        400,
        "BadRequestError",
        "this is too much: This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
        "tokens, which exceeds this limit even without any output tokens. (parameter=input_tokens, value=2049)",
    ),
    FailureKind.SERVER: (500, "InternalServerError", "this is EngineCore encountered an issue"),
    FailureKind.TIMEOUT: (504, "GatewayTimeout", "this is a proxy's"),
}
METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 7.0
vllm:num_requests_running{engine="1",model_name="m"} 5.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 1.0
# HELP vllm:num_requests_waiting_by_reason Number of waiting requests by reason.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="deferred"} 1.0
vllm:num_requests_waiting_by_reason{engine="1",model_name="m",reason="capacity"} 1.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
"""
"""Four requests wait, in two engines."""


class VLLMFakeProvider(OpenAIFakeProvider):
    """OpenAI's format with vLLM's errors, routes and gaps. `engine_dead` is what `/health` tells; the other routes don't know."""

    provider = "vllm"
    unsupported: Mapping[str, str] = {
        "PDF": "messages[0].content[0].file",
        "PDF as a document part": "messages[0].content[0].document",
    }
    engine_dead = False

    def read_request(self, path: str, headers: Mapping[str, str], body: bytes) -> ReceivedRequest:
        request = orjson.loads(body)
        for message in request["messages"]:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if part["type"] not in _PARTS:
                    raise Refused(f"Unsupported chat content part type: {part['type']!r}")
        for name in request:
            if name.startswith("guided_"):
                raise Refused(f"{name} would be ignored")
        return super().read_request(path, headers, body)

    def whole_answer(self, script: Script, received: ReceivedRequest) -> Reply:
        answer = orjson.loads(super().whole_answer(script, received).body)
        choice = answer["choices"][0]
        choice |= {"stop_reason": None, "token_ids": None}
        choice["message"] |= {"annotations": None, "audio": None, "function_call": None, "reasoning": "Let me think."}
        answer |= {"service_tier": None, "prompt_logprobs": None, "kv_transfer_params": None}
        if not script.usage.cached:
            answer["usage"] |= {"prompt_tokens_details": None, "completion_tokens_details": None}
        return Reply(200, orjson.dumps(answer))

    def stream(self, script: Script, received: ReceivedRequest) -> Iterator[bytes]:
        for event in super().stream(script, received):
            if event == b"data: [DONE]\n\n":
                yield event
                continue
            chunk = orjson.loads(event.removeprefix(b"data: "))
            if chunk["usage"] is None:
                del chunk["usage"]
            yield b"data: " + orjson.dumps(chunk) + b"\n\n"

    def fail(self, kind: FailureKind) -> Reply | None:
        if kind is FailureKind.AUTHENTICATION:
            return Reply(401, b'{"error":"Unauthorized, this is"}')
        if kind not in _ERRORS:
            return None
        status, type_, message = _ERRORS[kind]
        return Reply(status, orjson.dumps({"error": {"message": message, "type": type_, "param": None, "code": status}}))

    def get(self, path: str) -> Reply:
        if path == "/health":
            return Reply(503 if self.engine_dead else 200, b"", {})
        if path == "/metrics":
            return Reply(200, METRICS.encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"})
        return super().get(path)


FAKE = VLLMFakeProvider()
