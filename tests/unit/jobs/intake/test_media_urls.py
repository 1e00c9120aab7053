"""Links to media: what they lead to, however they are written, and which policy allows them."""

from typing import Any

import orjson
import pytest

from balancer.configuration.values import MediaUrls
from jobs.intake.checker import Intake
from jobs.intake.lines import CHAT_PATH
from jobs.intake.media_urls import Source, allowed, media_sources, refusal_of, source_of

PUBLIC = [
    "https://example.com/a.png",
    "https://user.github.io/a?b=c",
    "HTTPS://Example.COM./",
    "https://8.8.8.8/x",
    "https://bücher.de/",
]
PRIVATE = [
    "https://localhost/x", "http://LOCALHOST.:8000/x", "https://127.0.0.1/", "https://10.1.2.3/", "http://169.254.169.254/latest/",
    "https://[::1]/", "https://[fd00::1]/", "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::7f00:1]/",
    "https://2130706433/", "https://127.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.0.0.1./",
    "https://１２７.0.0.1/", "https://①②⑦.0.0.1/", "https://redis/x", "https://vllm.default.svc.cluster.local/",
    "https://metadata.google.internal/", "https://router.home.arpa/", "https://100.64.0.1/", "https://0.0.0.0/",
]  # fmt: skip
OTHER = [
    "file:///etc/passwd", "gs://bucket/x", "s3://bucket/x", "ftp://example.com/x", "/etc/passwd", "example.com/x.png", "",
    "https://", "https:///x", "https://example.com@127.0.0.1/", "https://127.0.0.1\\@example.com/", "https://127.0.0.1%2f.example.com/",
    "ht\ntps://example.com/", " https://example.com/", "https://[::1/", "https://example.com:port/",
    "https://a..b/", "//example.com/x",
]  # fmt: skip


@pytest.mark.parametrize("url", PUBLIC)
def test_public_addresses(url: str) -> None:
    assert source_of(url) is Source.HTTPS
    assert source_of(url.lower().replace("https://", "http://")) is Source.HTTP


@pytest.mark.parametrize("url", PRIVATE)
def test_addresses_in_private_networks(url: str) -> None:
    assert source_of(url) is Source.PRIVATE


@pytest.mark.parametrize("url", OTHER)
def test_what_is_no_plain_link(url: str) -> None:
    assert source_of(url) is Source.OTHER


@pytest.mark.parametrize("url", ["data:image/png;base64,aGk=", "DATA:text/plain,hi there"])
def test_content_in_the_request(url: str) -> None:
    assert source_of(url) is Source.DATA


@pytest.mark.parametrize(
    ("policy", "sources"),
    [("data", {"data"}), ("https", {"data", "https"}), ("any", {"data", "https", "http", "private", "other"})],
)
def test_what_a_policy_allows(policy: str, sources: set[str]) -> None:
    assert {source for source in Source if allowed(MediaUrls(policy), source)} == sources


def test_a_refusal_says_what_to_do() -> None:
    message = refusal_of(MediaUrls.HTTPS, Source.PRIVATE)
    assert message == (
        "links to an address in a private network, which `media_urls: https` doesn't allow; "
        "send its content as a data: URL, or link to a public https:// address"
    )


LINK = "http://10.0.0.1/x"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"messages": [{"content": [{"image_url": {"url": LINK}}]}]}, "messages[0].content[0].image_url.url"),
        ({"messages": [{"content": "x"}, {"content": [{}, {"image_url": LINK}]}]}, "messages[1].content[1].image_url"),
        ({"messages": [{"content": [{"video_url": {"url": LINK}}]}]}, "messages[0].content[0].video_url.url"),
        ({"messages": [{"content": {"audio_url": {"URL": LINK}}}]}, "messages[0].content.audio_url.URL"),
        ({"messages": [{"content": [{"file": {"file_url": LINK}}]}]}, "messages[0].content[0].file.file_url"),
        ({"messages": [{"content": [{"fileData": {"fileUri": LINK}}]}]}, "messages[0].content[0].fileData.fileUri"),
        ({"messages": [{"content": [{"content": [{"source": {"url": LINK}}]}]}]}, "messages[0].content[0].content[0].source.url"),
        ({"documents": {"content": [{"image_url": {"url": LINK}}]}}, "documents.content[0].image_url.url"),
        ({"query": {"content": [{"image_url": {"url": LINK}}]}}, "query.content[0].image_url.url"),
        ({"input": ["text", {"image_url": LINK}]}, "input[1].image_url"),
    ],
)
def test_links_are_found_wherever_a_prompt_has_them(body: dict[str, Any], place: str) -> None:
    assert list(media_sources(body)) == [(place, Source.PRIVATE)]


def test_text_is_not_looked_at() -> None:
    said = f"see {LINK}"
    call = {"function": {"name": "fetch", "arguments": orjson.dumps({"url": LINK}).decode()}}
    tools = [{"function": {"parameters": {"properties": {"url": {"default": LINK}}}}}]
    body = {"messages": [{"content": said}, {"content": [{"text": said}], "tool_calls": [call]}], "tools": tools, "input": [1, 2]}
    assert list(media_sources(body)) == []


def test_an_input_knows_the_first_line_of_each_kind_of_link() -> None:
    links = ["https://example.com/a", "data:,a", "https://10.0.0.1/", "https://example.com/b", "gs://x/y"]
    bodies = [{"messages": [{"content": [{"url": link}]}]} for link in links]
    lines = [{"custom_id": str(n), "method": "POST", "url": CHAT_PATH, "body": body} for n, body in enumerate(bodies)]
    with Intake() as intake:
        intake.feed(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        intake.finish()
        assert intake.result().media == {"https": 1, "data": 2, "private": 3, "other": 5}
