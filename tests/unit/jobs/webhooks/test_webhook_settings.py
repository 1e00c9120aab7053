"""What a webhook may be, and how its messages are signed."""

import asyncio
import base64
import socket
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from jobs.access.addresses import PrivateAddress, is_private, public_address
from jobs.errors import InvalidRequest
from jobs.webhooks import EVENTS, Webhook, parse_webhook

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
URL = "https://hooks.example.com/jobs?team=1"


def test_a_message_is_signed_as_the_standard_has_it() -> None:
    # Its own library's signature of the same message.
    webhook = Webhook(URL, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_openai_client_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_010.0)
    body = b'{"id": "evt_1", "object": "event", "type": "batch.completed", "created_at": 1700000000, "data": {"id": "batch_1"}}'
    webhook = parse_webhook(URL, SECRET, None, False)
    signature = webhook.signature("evt_1", 1_700_000_000, body)
    headers = {"webhook-id": "evt_1", "webhook-timestamp": "1700000000", "webhook-signature": signature}
    client = OpenAI(api_key="none", webhook_secret=SECRET)
    event = client.webhooks.unwrap(body, headers)
    assert event.type == "batch.completed"
    assert event.data.id == "batch_1"
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(body.replace(b"batch_1", b"batch_2"), headers)


def test_a_webhook_is_kept_and_read_again() -> None:
    webhook = parse_webhook(URL, SECRET, ["batch.failed", "batch.failed", "batch.paused"], False)
    assert webhook.events == ("batch.failed", "batch.paused")
    assert Webhook.from_json(webhook.as_json()) == webhook
    assert parse_webhook(URL, SECRET, None, False).events == EVENTS


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "http://hooks.example.com/",
        "https://",
        "https://user:word@hooks.example.com/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nx: y",
        "https://hooks.example.com/" + 2_048 * "x",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://" + 64 * "x" + ".example.com/",
        "https://hooks..example.com/",
    ],
)
def test_an_address_that_can_not_be_meant_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_webhook(url, SECRET, None, False)
    assert refused.value.param == "webhook.url"


def test_private_addresses_can_be_allowed() -> None:
    assert parse_webhook("http://10.1.2.3:8080/x", SECRET, None, True).url == "http://10.1.2.3:8080/x"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", SECRET[6:], SECRET + "!", "whsec_" + 100 * "AAAA"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(InvalidRequest, match="openssl") as refused:
        parse_webhook(URL, secret, None, False)
    assert refused.value.param == "webhook.secret"
    assert not secret.removeprefix("whsec_") or secret not in str(refused.value)


def test_an_unknown_event_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match=r"'job\.done' is none of batch\.cancelled"):
        parse_webhook(URL, SECRET, ["job.done"], False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "hooks.example.com", "172.32.0.1"])
def test_public_addresses_are_not_private(address: str) -> None:
    assert not is_private(address)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "100.64.0.1", "172.16.0.1", "192.168.1.1", "224.0.0.1", "fd00::1", "fe80::1", "::"]
)
def test_private_addresses_are(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(("addresses", "expected"), [(["8.8.8.8"], "8.8.8.8"), (["8.8.8.8", "10.0.0.1"], None)])
async def test_a_name_must_stand_for_public_addresses_only(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], expected: str | None
) -> None:
    async def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    if expected:
        assert await public_address("hooks.example.com", 443) == expected
    else:
        with pytest.raises(PrivateAddress, match=r"hooks\.example\.com is 10\.0\.0\.1"):
            await public_address("hooks.example.com", 443)


async def test_a_name_that_can_not_be_asked_for_has_no_address() -> None:
    with pytest.raises(OSError, match="can't be the name of a host"):
        await public_address(64 * "x" + ".example.com", 443)
