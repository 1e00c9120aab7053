"""The kinds of requests that are sent on: OpenAI's, and vLLM's scores and rankings, by their paths below /v1."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CHAT_PATH", "KINDS", "Kind"]

CHAT_PATH = "/chat/completions"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is common to the requests of a path. `required` are the fields that a request has to have, or those of `instead`;
    `answer` is the list that an answer has to have. With `generates`, an endpoint's limit of tokens and its temperature apply."""

    path: str
    required: tuple[str, ...]
    answer: str
    generates: bool = False
    instead: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    kind.path: kind
    for kind in (
        Kind(CHAT_PATH, ("messages",), "choices", generates=True),
        Kind("/completions", ("prompt",), "choices", generates=True),
        Kind("/embeddings", ("input",), "data"),
        Kind("/moderations", ("input",), "results"),
        Kind("/score", ("text_1", "text_2"), "data", instead=("queries", "documents")),
        Kind("/rerank", ("query", "documents"), "results"),
    )
}
"""The formats: https://platform.openai.com/docs/api-reference; vLLM's OpenAI-compatible server, "Score API", "Re-rank API"."""
