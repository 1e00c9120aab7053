"""OpenAI's wire format, as vLLM and many other servers speak it: bodies pass through untouched.

Only the endpoint's own settings are put in (see `settings`), and a PDF in LaaS's format is converted to OpenAI's. Unknown
fields are forwarded. With the option `api: responses` chats are sent to the Responses API instead (see `responses`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind
from balancer.providers.base import Adapter, Answer, Call, RequestRefused, StreamFault, Translation, listed
from balancer.providers.batches import BatchApi
from balancer.providers.documents import with_files
from balancer.providers.failures import unreadable
from balancer.providers.kinds import CHAT_PATH, KINDS, RESPONSES_PATH
from balancer.providers.openai.answers import MOST_TOKENS, error_answer, one_line, openai_failure, stream_failure, usage_of
from balancer.providers.openai.batches import OpenAIBatches
from balancer.providers.openai.choices import wrong_in
from balancer.providers.openai.plain_messages import with_failures_in_words
from balancer.providers.responses.adapter import (
    is_responses_call,
    response_failure,
    responses_answer,
    responses_call,
    responses_usage,
)
from balancer.providers.responses.stream import ResponsesStream
from balancer.providers.settings import apply_endpoint
from balancer.providers.shapes import with_effort

__all__ = ["MOST_TOKENS", "OpenAIAdapter", "one_line", "openai_failure", "usage_of"]

END = b"[DONE]"
OPENAI_HOST = "//api.openai.com"
VLLM = "vllm"
"""The provider that serves the models, in `owned_by` of each."""


class OpenAIAdapter(Adapter):
    """OpenAI chat completions, and every server that speaks them; beside them embeddings and what else is in `kinds`."""

    paths = tuple(KINDS)
    is_shared = True
    has_thinking = True
    """Whether servers may know Anthropic's `thinking`, as many compatible ones do. OpenAI's own know efforts only."""

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["authorization"] = f"Bearer {endpoint.api_key}"
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        sent = apply_endpoint(endpoint, body, KINDS[path].limits)
        if endpoint.options and path == CHAT_PATH and _wants_responses(endpoint):
            return responses_call(endpoint, {**sent, "messages": with_failures_in_words(sent.get("messages"))})
        if sent.get("thinking") is not None and not (self.has_thinking and OPENAI_HOST not in endpoint.url):
            sent = with_effort(sent)
        given = sent.get("messages")
        messages = with_failures_in_words(with_files(given))
        if messages is not given:
            sent = {**sent, "messages": messages}
        stream = bool(sent.get("stream"))
        if stream:
            sent = _asking_for_usage(sent)
        return Call(path, orjson.dumps(sent), sent.get("model") or "", stream)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        if is_responses_call(call):
            return responses_answer(status, headers, body)
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        if status != 200:
            handed_on, failure = error_answer(status, headers, parsed, body)
            return Answer(handed_on, failure=failure)
        field = KINDS[call.path].answer
        if not isinstance(parsed, dict) or not isinstance(parsed.get(field), list) or parsed.get("error"):
            return Answer(b"", failure=unreadable(status, body, parsed, field))
        if call.path == CHAT_PATH:
            for choice in parsed["choices"]:
                if wrong := wrong_in(choice, "message"):
                    failure = Failure(FailureKind.INVALID_RESPONSE, f"a 200 answer in which {wrong} ({len(body)} bytes)", status)
                    return Answer(b"", failure=failure)
        if call.path == RESPONSES_PATH:
            if parsed.get("status") in ("failed", "cancelled"):
                return Answer(b"", failure=response_failure(parsed, body, status))
            return Answer(one_line(body), responses_usage(parsed.get("usage")), parsed=parsed)
        return Answer(one_line(body), usage_of(parsed.get("usage")), parsed=parsed)

    def batches(self, endpoint: Endpoint) -> BatchApi | None:
        return OpenAIBatches()

    def provider_of(self, body: bytes) -> str | None:
        return VLLM if any(model.get("owned_by") == VLLM for model in listed(body)) else None

    def translation(self, call: Call) -> Translation:
        return ResponsesStream() if is_responses_call(call) else _PassedThrough()


class _PassedThrough(Translation):
    """OpenAI's own chunks."""

    def take(self, data: bytes) -> Sequence[Mapping[str, Any]]:
        if data == END:
            self.ended = True
            return ()
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise _fault("is not JSON") from None
        if not isinstance(chunk, dict):
            raise _fault("is no JSON object")
        if chunk.get("error"):
            raise StreamFault(stream_failure(chunk, data))
        choices = chunk.setdefault("choices", [])
        if not isinstance(choices, list):
            raise _fault("is no chunk: `choices` is no list")
        for choice in choices:
            if isinstance(choice, dict) and choice.get("delta") is None:  # seen beside the findings of content filters
                choice["delta"] = {}
            if wrong := wrong_in(choice, "delta"):
                raise _fault(f"is no chunk: {wrong}")
        return (chunk,)


def _asking_for_usage(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask for tokens whether the user wants them or not, since what a request costs is to be known.

    A request with `include_usage: false` has a server that refuses `stream_options`: that server is sent none.
    """
    asked = body.get("stream_options")
    options = asked if isinstance(asked, dict) else {}
    if options.get("include_usage") is False:
        return {name: value for name, value in body.items() if name != "stream_options"}
    return {**body, "stream_options": {**options, "include_usage": True}}


def _wants_responses(endpoint: Endpoint) -> bool:
    api = endpoint.options.get("api", "chat")
    if api not in ("chat", "responses"):
        raise RequestRefused("options.api", f"the endpoint's setting must be `chat` or `responses` (got {api!r})")
    return api == "responses"


def _fault(problem: str) -> StreamFault:
    return StreamFault(Failure(FailureKind.INVALID_RESPONSE, f"an event of the stream {problem}"))
