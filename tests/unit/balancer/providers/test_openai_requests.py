"""What the openai adapter puts into a request, and what it refuses."""

from typing import Any

import orjson
import pytest
from openai_calls import ADAPTER, URL

from balancer.endpoint import Endpoint
from balancer.providers import RequestRefused, adapter_for
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.settings import apply_endpoint


@pytest.mark.parametrize(
    ("endpoint", "body", "sent"),
    [
        (Endpoint(URL), {"model": "m", "odd": [1]}, {"model": "m", "odd": [1]}),  # untouched
        (Endpoint(URL, models={"m": "org/m"}), {"model": "m"}, {"model": "org/m"}),
        (Endpoint(URL, models={"m": "org/m"}), {"model": "other"}, {"model": "other"}),
        (Endpoint(URL, models={"m": "org/m"}), {}, {"model": "org/m"}),  # its first one
        (Endpoint(URL, models={"m": "org/m"}), {"model": ""}, {"model": "org/m"}),
        (Endpoint(URL), {}, {}),
        (Endpoint(URL, max_tokens=100), {}, {"max_tokens": 100}),  # a default
        (Endpoint(URL, max_tokens=100), {"max_tokens": 7}, {"max_tokens": 7}),
        (Endpoint(URL, max_tokens=100), {"max_tokens": 700}, {"max_tokens": 100}),  # and a cap
        (Endpoint(URL, max_tokens=100), {"max_tokens": None}, {"max_tokens": 100}),
        (Endpoint(URL, max_tokens=100), {"max_completion_tokens": 700}, {"max_completion_tokens": 100}),
        (Endpoint(URL, max_tokens=100), {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        (
            Endpoint(URL, max_tokens=100),  # neither name is a way around the cap
            {"max_completion_tokens": 7, "max_tokens": 700},
            {"max_completion_tokens": 7, "max_tokens": 100},
        ),
        (Endpoint(URL, temperature=0.7), {}, {"temperature": 0.7}),
        (Endpoint(URL, temperature=0.7), {"temperature": None}, {"temperature": 0.7}),
        (Endpoint(URL, temperature=0.7), {"temperature": 0}, {"temperature": 0}),  # zero is a choice
        (Endpoint(URL, temperature=0.0), {}, {"temperature": 0.0}),
    ],
)
def test_only_the_endpoints_own_settings_are_put_in(endpoint: Endpoint, body: dict[str, Any], sent: dict[str, Any]) -> None:
    before = dict(body)
    assert apply_endpoint(endpoint, body) == sent
    assert body == before
    assert orjson.loads(ADAPTER.call(endpoint, "/chat/completions", body).body) == sent


def test_a_body_that_needs_nothing_is_not_copied() -> None:
    body = {"model": "m"}
    assert apply_endpoint(Endpoint(URL), body) is body


def test_the_key_goes_into_a_header() -> None:
    assert ADAPTER.headers(Endpoint(URL, api_key="k"))["authorization"] == "Bearer k"
    assert "authorization" not in ADAPTER.headers(Endpoint(URL))


@pytest.mark.parametrize("provider", ["openai", "vllm"])
def test_providers_have_adapters(provider: str) -> None:
    assert isinstance(adapter_for(provider), OpenAIAdapter)


def test_an_unknown_provider_has_none() -> None:
    with pytest.raises(KeyError):
        adapter_for("bard")


PDF = "data:application/pdf;base64,JVBERi0xLjQ="


def document(**fields: Any) -> dict[str, Any]:
    return {"type": "document", "document_url": {"url": PDF}, **fields}


@pytest.mark.parametrize(
    ("part", "file"),
    [
        (document(), {"filename": "document.pdf", "file_data": PDF}),
        (document(filename="a.pdf"), {"filename": "a.pdf", "file_data": PDF}),
        ({"type": "document", "document_url": PDF}, {"filename": "document.pdf", "file_data": PDF}),
        (
            document(document_url={"url": "data:application/x-hwp;base64,AAAA"}),  # its type is said in the data
            {"filename": "document", "file_data": "data:application/x-hwp;base64,AAAA"},
        ),
    ],
)
def test_a_document_is_sent_as_a_file(part: dict[str, Any], file: dict[str, Any]) -> None:
    text = {"type": "text", "text": "Sum up"}
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [text, part], "name": "n"}],
    }
    before = orjson.dumps(body)
    sent = orjson.loads(ADAPTER.call(Endpoint(URL), "/chat/completions", body).body)
    assert sent["messages"][0] == body["messages"][0]
    assert sent["messages"][1] == {"role": "user", "content": [text, {"type": "file", "file": file}], "name": "n"}
    assert orjson.dumps(body) == before, "the caller's own request is not touched"


@pytest.mark.parametrize("url", ["https://example.com/a.pdf", "data:application/pdf,plain", "a.pdf", None, 5])
def test_a_document_that_is_not_in_base64_is_refused(url: Any) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": [document(document_url={"url": url})]}]
    with pytest.raises(RequestRefused) as refused:
        ADAPTER.call(Endpoint(URL), "/chat/completions", {"model": "m", "messages": messages})
    assert refused.value.param == "messages[1].content[0].document_url.url"


@pytest.mark.parametrize(
    "messages", [None, 5, "text", {}, [], [None, "x"], [{"role": "user"}], [{"content": [None, {}, "x", {"type": []}]}]]
)
def test_odd_messages_are_the_endpoints_business(messages: Any) -> None:
    body = {"model": "m", "messages": messages}
    assert orjson.loads(ADAPTER.call(Endpoint(URL), "/chat/completions", body).body) == body


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (None, {"include_usage": True}),
        ("odd", {"include_usage": True}),
        ([1], {"include_usage": True}),
        ({"include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
        ({"include_usage": False}, None),  # said outright: the server refuses the field
    ],
)
def test_a_stream_asks_for_its_tokens(asked: Any, sent: dict[str, Any] | None) -> None:
    call = ADAPTER.call(Endpoint(URL), "/chat/completions", {"model": "m", "stream": True, "stream_options": asked})
    assert orjson.loads(call.body).get("stream_options") == sent
    assert call.stream


def test_an_api_that_there_is_not_is_refused() -> None:
    with pytest.raises(RequestRefused, match=r"options\.api.*`chat` or `responses`.*'response'"):
        ADAPTER.call(Endpoint(URL, options={"api": "response"}), "/chat/completions", {"model": "m", "messages": []})
    chat = Endpoint(URL, options={"api": "chat"})
    assert ADAPTER.call(chat, "/chat/completions", {"model": "m", "messages": []}).path == "/chat/completions"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("value", [5000.0, "5000", 10**20, 0, -1, True, [5], {}])
def test_a_token_limit_that_could_slip_past_the_cap_is_refused(name: str, value: object) -> None:
    for endpoint in (Endpoint("http://h/v1"), Endpoint("http://h/v1", max_tokens=100)):
        with pytest.raises(RequestRefused) as caught:
            apply_endpoint(endpoint, {"messages": [], name: value})
        assert caught.value.param == name


@pytest.mark.parametrize("value", [128, 0, 1.0, "2", True])
def test_more_answers_than_anybody_needs_are_refused(value: object) -> None:
    with pytest.raises(RequestRefused, match="1 to 64"):
        apply_endpoint(Endpoint("http://h/v1"), {"messages": [], "n": value})
