"""The kinds of requests that are sent on: OpenAI's, and vLLM's scores and rankings, by their paths below /v1."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CHAT_LIMITS", "CHAT_PATH", "KINDS", "RESPONSES_PATH", "Kind"]

CHAT_PATH = "/chat/completions"
RESPONSES_PATH = "/responses"
CHAT_LIMITS = ("max_completion_tokens", "max_tokens")
"""The first is the newer name, which reasoning models insist on."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is common to the requests of a path. `required` are the fields that a request has to have, or those of `instead`;
    `answer` is the list that an answer has to have. `limits` are the fields that limit the tokens of an answer that is generated,
    to which an endpoint's own limit and its temperature apply; a request without any gets the last of them."""

    path: str
    required: tuple[str, ...]
    answer: str
    limits: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()

    @property
    def generates(self) -> bool:
        """Whether the answer is generated, so that it differs from one time to the next."""
        return bool(self.limits)


KINDS: Mapping[str, Kind] = {
    kind.path: kind
    for kind in (
        Kind(CHAT_PATH, ("messages",), "choices", CHAT_LIMITS),
        Kind("/completions", ("prompt",), "choices", ("max_tokens",)),
        Kind(RESPONSES_PATH, ("input",), "output", ("max_output_tokens",)),
        Kind("/embeddings", ("input",), "data"),
        Kind("/moderations", ("input",), "results"),
        Kind("/score", ("text_1", "text_2"), "data", instead=("queries", "documents")),
        Kind("/rerank", ("query", "documents"), "results"),
    )
}
"""The formats: https://platform.openai.com/docs/api-reference; vLLM's OpenAI-compatible server, "Score API", "Re-rank API"."""
