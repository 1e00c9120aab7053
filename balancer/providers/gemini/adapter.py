"""Gemini's wire format: generateContent (ai.google.dev/api/generate-content).

The endpoint's URL ends with the API's version: `https://generativelanguage.googleapis.com/v1beta`. Requests are translated in
`gemini_requests` and `gemini_contents`, answers in `gemini_answers`, streams in `gemini_streams`, errors in `gemini_failures`.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from balancer.endpoint import Endpoint
from balancer.outcome import Failure, FailureKind
from balancer.providers.base import Adapter, Answer, Call, Check, RequestRefused, Translation
from balancer.providers.batches import BatchApi
from balancer.providers.failures import unreadable
from balancer.providers.gemini.answers import UnreadableAnswer, completion_of
from balancer.providers.gemini.batches import GeminiBatches
from balancer.providers.gemini.failures import gemini_failure, openai_error, unwrapped
from balancer.providers.gemini.requests import generate_content
from balancer.providers.gemini.streams import GeminiTranslation
from balancer.providers.settings import apply_endpoint

__all__ = ["GeminiAdapter"]

_CHAT_PATH = "/chat/completions"
_LONGEST_NAME = 256
"""Characters. No model has such a name, and it goes into an address."""


class GeminiAdapter(Adapter):
    """Gemini, asked by its own API."""

    check = Check("/models?pageSize=1000")  # the most that one page may have

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if endpoint.api_key:
            headers["x-goog-api-key"] = endpoint.api_key
        return headers

    def call(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> Call:
        if path != _CHAT_PATH:
            raise RequestRefused("url", f"Gemini is asked for chat completions only, not for {path}")
        if not isinstance(body.get("model"), str | None):
            raise RequestRefused("model", "must be a string")
        sent = apply_endpoint(endpoint, body)
        model, place = _named(sent.get("model"))
        request = generate_content(model, sent, endpoint)
        try:
            text = orjson.dumps(request)
        except orjson.JSONEncodeError as exc:
            raise RequestRefused("body", f"can't be written as JSON: {exc}") from exc
        stream = bool(sent.get("stream"))
        return Call(f"{place}:streamGenerateContent?alt=sse" if stream else f"{place}:generateContent", text, model, stream)

    def answer(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            parsed = unwrapped(orjson.loads(body))
        except orjson.JSONDecodeError:
            parsed = None
        if status != 200:
            error = openai_error(parsed, body)
            return Answer(orjson.dumps(error) if error else b"", failure=gemini_failure(status, headers, parsed, body))
        try:
            found = completion_of(parsed, call.model) if isinstance(parsed, dict) and not parsed.get("error") else None
        except UnreadableAnswer as exc:
            return Answer(b"", failure=Failure(FailureKind.INVALID_RESPONSE, f"an unreadable 200 answer: {exc}", status))
        if found is None:
            return Answer(b"", failure=_no_completion(status, body, parsed))
        completion, usage = found
        return Answer(orjson.dumps(completion), usage, parsed=completion)

    def batches(self, endpoint: Endpoint) -> BatchApi | None:
        return GeminiBatches()

    def translation(self, call: Call) -> Translation:
        return GeminiTranslation(call.model)

    def models(self, body: bytes) -> list[str]:
        """Read `{"models": [{"name": "models/gemini-3.8-flash", "supportedGenerationMethods": [...]}]}`, those that chat."""
        try:
            listing = orjson.loads(body)
        except orjson.JSONDecodeError:
            return []
        entries = listing.get("models") if isinstance(listing, dict) else None
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        names = [entry.get("name") for entry in found if _chats(entry.get("supportedGenerationMethods"))]
        return [name.removeprefix("models/") for name in names if isinstance(name, str)]


def _named(model: Any) -> tuple[str, str]:
    """Return a model's name and its place below the endpoint's URL, from which no name can lead away. Raises RequestRefused."""
    name = model.removeprefix("models/") if isinstance(model, str) else ""
    if not name:
        raise RequestRefused("model", "Gemini has to be asked for a model; name one, such as gemini-3.8-flash")
    if len(name) > _LONGEST_NAME:
        raise RequestRefused("model", f"is longer than any model's name ({_LONGEST_NAME} characters)")
    try:
        return name, f"/models/{quote(name, safe='')}"
    except UnicodeEncodeError as exc:
        raise RequestRefused("model", "is no text: it holds half of a surrogate pair") from exc


def _no_completion(status: int, body: bytes, parsed: Any) -> Failure:
    error = openai_error(parsed, body)
    if error is None:
        return unreadable(status, body, parsed, "candidates")
    return Failure(FailureKind.INVALID_RESPONSE, f"an error in a 200 answer: {error['error']['message']}", status)


def _chats(methods: Any) -> bool:
    return "generateContent" in methods if isinstance(methods, list) else True
