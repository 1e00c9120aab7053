"""Every field of OpenAI's own request type is translated, kept for the answer, or refused by its name."""

from typing import Any, get_type_hints

from openai.types.responses.response_create_params import ResponseCreateParamsBase

from producer_api.http.errors import ApiError
from producer_api.responses.objects import response_object
from producer_api.responses.request import chat_body

REQUEST: dict[str, Any] = {"model": "m", "input": "Hi"}
PROBES: tuple[Any, ...] = (
    "probe", ["probe"], 7, True, "auto", {"effort": "low"}, {"verbosity": "low"}, {"type": "function", "name": "f"},
    [{"type": "function", "name": "f"}], {"a": "b"},
)  # fmt: skip
"""Values of which each field takes one at least."""
ABOUT_THE_ANSWER = {"stream_options"}
"""Fields about the encoding of a stream."""
READ_BY_THE_ROUTE = {"store", "previous_response_id"}


def test_no_field_of_a_request_vanishes() -> None:
    fields = get_type_hints(ResponseCreateParamsBase).keys() - ABOUT_THE_ANSWER - READ_BY_THE_ROUTE
    assert len(fields) > 20
    assert [field for field in sorted(fields) if not any(_shows(field, probe) for probe in PROBES)] == []


def _shows(field: str, probe: Any) -> bool:
    request = REQUEST | {field: probe}
    try:
        changed = chat_body(request) != chat_body(REQUEST)
    except ApiError as exc:
        return field in str(exc.problem.param)
    return changed or _response(request) != _response(REQUEST)


def _response(request: dict[str, Any]) -> dict[str, Any]:
    return response_object(request, "resp_1", 0.0, "m", "in_progress", [])
