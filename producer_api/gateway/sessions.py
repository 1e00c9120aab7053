"""`POST /api/v1/chat`: one turn of a conversation, with its whole context in the request."""

import re
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from balancer.endpoint import Endpoint
from balancer.fleet.sending import ChatRequest
from balancer.fleet.sent import Sent
from balancer.outcome import FailureKind, Outcome
from balancer.results import first_choice, first_message, text_of
from producer_api.context import Api, ApiContext
from producer_api.gateway.admission import admit
from producer_api.gateway.chat import complete
from producer_api.gateway.chat_errors import KeyRefused, NotConfigured, UpstreamFailed
from producer_api.gateway.conversation import messages_of, system_prompt
from producer_api.http.json_body import JsonRoute
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(tags=["chat"], route_class=JsonRoute)

_KEY_SHAPE = re.compile(r"sk-[A-Za-z0-9_-]{16,256}")
"""The form of OpenAI's keys."""
LONGEST_TEXT = 1_000_000
"""Characters of one text."""
MOST_LINES = 2_000
"""Lines of history, and of memory."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class ChatInput(BaseModel):
    """One turn: what the user says now, and everything that the model should know. Nothing of it is kept here.

    A field that is null is left out; further fields are passed over.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "s-1",
                    "system_message": "You are a travel guide.",
                    "role": "guide",
                    "user_message": "And what should I eat there?",
                    "conversation_history": ["user: I am going to Busan.", "assistant: Lovely! See the markets."],
                    "memory_context": ["The user is a vegetarian."],
                    "instructions": "Answer in two sentences.",
                    "free_mode": True,
                }
            ]
        },
    )

    session_id: Annotated[str, Field(max_length=256)] = ""
    system_message: Text | None = None
    user_message: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
    role: Text | None = None
    instructions: Text | None = None
    conversation_history: Annotated[list[Text], Field(max_length=MOST_LINES)] = Field(default_factory=list)
    memory_context: Annotated[list[Text], Field(max_length=MOST_LINES)] = Field(default_factory=list)
    max_tokens: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.7
    model: Annotated[str, Field(max_length=512)] | None = None
    openai_api_key: (
        Annotated[SecretStr, Field(description="Used for this request alone; never kept, logged or shown.")] | None
    ) = None
    free_mode: Annotated[bool, Field(description="Whether the server's own keys may be used where the request brings none.")] = (
        False
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, given: Any) -> Any:
        return {name: value for name, value in given.items() if value is not None} if isinstance(given, dict) else given


class ChatAnswer(BaseModel):
    """The answer. `response_time` is in seconds; `api_key_source` says whose key paid."""

    session_id: str
    response_text: str
    model: str
    input_tokens: int
    output_tokens: int
    total_tokens_used: int
    output_format: Literal["text"] = "text"
    created_at: str
    temperature: float
    instructions: str | None
    response_time: float
    success: bool
    error_message: str | None = None
    api_key_source: Literal["user", "server"]


@router.post(
    "/chat",
    summary="Answer one turn of a conversation",
    responses=errors(400, 401, 403, 413, 422, 429, 500, 503),
)
async def chat(body: ChatInput, request: Request, api: Api) -> ChatAnswer:
    """Compose the system prompt of system message, role, memory and instructions, and answer the user's message.

    Without `free_mode` the request must bring a key of its own; with it, the server's are used where it brings none.
    """
    key = _key_of(body)
    asked = {
        "messages": messages_of(
            system_prompt(body.system_message, body.role, body.memory_context, body.instructions),
            body.conversation_history,
            body.user_message,
        ),
        "max_tokens": body.max_tokens,
        **({"temperature": body.temperature} if "temperature" in body.model_fields_set else {}),
        **({"model": body.model} if body.model else {}),
    }
    # Refusals come before the admission, which has to be released.
    endpoints = _endpoints_for_callers_keys(api) if key else None
    admitted = await admit(api, request, asked)
    chat_request = ChatRequest(asked, admitted.owner, key, endpoints, {"temperature": body.temperature})
    started = time.perf_counter()
    sent = await complete(api, request, chat_request, admitted)
    if sent.answer is None:
        raise _failed(sent, bool(key))
    return _answer(body, sent.answer, time.perf_counter() - started, "user" if key else "server")


def _key_of(body: ChatInput) -> str | None:
    """Return the caller's key; None where the server's may be used. Raises KeyRefused."""
    given = body.openai_api_key.get_secret_value().strip() if body.openai_api_key else ""
    if not given:
        if body.free_mode:
            return None
        raise KeyRefused("openai_api_key: give a key of your own, or ask in free mode (`free_mode: true`)")
    if not _KEY_SHAPE.fullmatch(given):
        raise KeyRefused("openai_api_key: this is no OpenAI key; they begin with `sk-`, followed by letters, digits, - and _")
    return given


def _endpoints_for_callers_keys(api: ApiContext) -> frozenset[str]:
    """Return the endpoints that callers' keys may be sent to: OpenAI itself, and those that the operator says are as good."""
    names = frozenset(e.name for e in api.node.fleet.endpoints.values() if _takes_callers_keys(e))
    if not names:
        raise NotConfigured("no endpoint here takes callers' keys; one at https://api.openai.com/v1 would")
    return names


def _takes_callers_keys(endpoint: Endpoint) -> bool:
    if endpoint.provider != "openai":
        return False
    address = urlsplit(endpoint.url)
    is_openai = (address.scheme, address.hostname) == ("https", "api.openai.com")
    return is_openai or endpoint.options.get("caller_keys") == "accept"


def _failed(sent: Sent, own_key: bool) -> Exception:
    failure = sent.failure
    if failure is not None and failure.kind is FailureKind.UNAVAILABLE and not sent.attempts:
        return NotConfigured(failure.message)
    if own_key and failure is not None and failure.kind is FailureKind.AUTHENTICATION:
        return KeyRefused("openai_api_key: the provider refuses this key")
    return UpstreamFailed(sent.explanation(), str(failure.kind) if failure else "unknown")


def _answer(body: ChatInput, outcome: Outcome, seconds: float, source: Literal["user", "server"]) -> ChatAnswer:
    raw: Any = outcome.parsed or {}
    ended = first_choice(raw).get("finish_reason")
    text = text_of(first_message(raw).get("content")) or ""
    declined = ended == "content_filter"
    return ChatAnswer(
        session_id=body.session_id or f"session_{secrets.token_hex(12)}",
        response_text=text,
        model=str(raw.get("model") or outcome.model),
        input_tokens=outcome.usage.prompt,
        output_tokens=outcome.usage.completion,
        total_tokens_used=outcome.usage.prompt + outcome.usage.completion,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        temperature=body.temperature,
        instructions=body.instructions,
        response_time=round(seconds, 6),
        success=not declined,
        error_message="the provider declined to answer this" if declined else None,
        api_key_source=source,
    )
