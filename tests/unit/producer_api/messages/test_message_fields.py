"""Every field of Anthropic's own request types is translated, or refused by its name."""

from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints

from producer_api.http.errors import ApiError
from producer_api.messages.request import chat_body

REQUEST: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
PROBES: tuple[Any, ...] = (
    "probe", ["probe"], {"type": "enabled", "budget_tokens": 2000}, {"user_id": "u"}, {"effort": "low"}, 7, "auto",
    {"type": "any"}, [{"name": "t", "input_schema": {}}], True,
)  # fmt: skip
"""Values of which each field takes one at least."""
EXAMPLES: dict[str, dict[str, Any]] = {
    "text": {"text": "Hi"},
    "image": {"source": {"type": "url", "url": "https://example.com/a.png"}},
    "document": {"source": {"type": "url", "url": "https://example.com/a.pdf"}},
    "thinking": {"thinking": "Well.", "signature": "s"},
    "redacted_thinking": {"data": "d"},
    "tool_use": {"id": "t", "name": "n", "input": {}},
    "tool_result": {"tool_use_id": "t", "content": "done"},
}
"""By the types of the blocks that are served, what each has to have."""


def _shows(request: dict[str, Any], plain: dict[str, Any], field: str) -> bool:
    """Whether a field of a request can be seen: in the chat, or in the refusal."""
    try:
        return chat_body(request) != plain
    except ApiError as exc:
        return field in str(exc.problem.param)


def test_no_field_of_a_request_vanishes() -> None:
    from anthropic.types.message_create_params import MessageCreateParamsBase  # here: it takes seconds to be imported

    fields = {*get_type_hints(MessageCreateParamsBase), "stream"}
    assert len(fields) > 15
    plain = chat_body(REQUEST)
    vanished = [field for field in fields if not any(_shows(REQUEST | {field: probe}, plain, field) for probe in PROBES)]
    assert vanished == []


def test_no_field_of_a_content_block_vanishes() -> None:
    from anthropic.types import ContentBlockParam

    vanished, served = [], set()
    for block in get_args(ContentBlockParam):
        hints = get_type_hints(block)
        kind = get_args(_plain(hints.pop("type")))[0]
        for role in ("user", "assistant"):
            made = {"type": kind, **EXAMPLES.get(kind, {})}
            try:
                plain = chat_body(_with_block(role, made))
            except ApiError as exc:
                assert exc.problem.param == "messages[0].content[0].type"
                continue
            served.add(kind)
            for field in hints:
                probe = {"probe": 1} if isinstance(made.get(field), dict) or field in ("cache_control", "caller") else "probe"
                if not _shows(_with_block(role, {**made, field: probe}), plain, field):
                    vanished.append((kind, role, field))
    assert vanished == []
    assert served == set(EXAMPLES)


def _with_block(role: str, block: dict[str, Any]) -> dict[str, Any]:
    return {**REQUEST, "messages": [{"role": role, "content": [block]}]}


def _plain(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint
