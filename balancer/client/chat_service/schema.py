"""The fields of a turn and of its answer, as `/api/v1/chat` has them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

__all__ = ["ChatRequest", "ChatResponse"]

LONGEST_TEXT = 1_000_000
"""Characters of one text."""
MOST_LINES = 2_000
"""Lines of history, and of memory."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
MaxTokens = Annotated[int, Field(gt=0, le=1_000_000)]


class ChatRequest(BaseModel):
    """One turn: what the user says now, and everything that the model should know. Nothing of it is kept here.

    A field that is null is left out, and further fields are passed over. Where `model`, `system_message`, `temperature` or
    `max_tokens` are left out, those of the configuration count (`chat`), else 0.7 and 1,000.
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
    max_tokens: MaxTokens | None = None
    temperature: Temperature | None = None
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


class ChatResponse(BaseModel):
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
