"""An OpenAI call and its answer."""

from typing import Any

import orjson
from hypothesis import strategies as st

from balancer.providers import Call
from balancer.providers.openai.adapter import OpenAIAdapter

__all__ = ["ADAPTER", "CALL", "JSON", "URL", "completion"]


ADAPTER = OpenAIAdapter()
CALL = Call("/chat/completions", b"{}", "m")
URL = "http://h/v1"


def completion(**fields: Any) -> bytes:
    return orjson.dumps({"id": "x", "choices": [{"message": {"content": "hi"}}], **fields})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "usage", "prompt_tokens"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)
