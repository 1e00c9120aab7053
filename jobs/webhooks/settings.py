"""What a job's webhook is: an address, a secret to sign with, and the events it is for."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from jobs.access.addresses import is_encodable, is_private
from jobs.errors import InvalidRequest
from jobs.records.states import FINAL

__all__ = ["EVENTS", "PAUSED", "Webhook", "event_of", "parse_webhook"]

PAUSED = "batch.paused"
EVENTS = (*(f"batch.{status}" for status in sorted(FINAL)), PAUSED)
"""What a webhook can be for. The ends are named as OpenAI names them."""
SECRET_PREFIX = "whsec_"
SHORTEST_SECRET, LONGEST_SECRET = 24, 64
"""Bytes of a secret, as Standard Webhooks has it (https://www.standardwebhooks.com)."""
LONGEST_URL = 2_048


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where a job's events are sent to, signed with `secret`."""

    url: str
    secret: str
    events: tuple[str, ...] = EVENTS

    @classmethod
    def from_json(cls, kept: str) -> "Webhook":
        """Make it of what `as_json` returned."""
        found = orjson.loads(kept)
        return cls(found["url"], found["secret"], tuple(found["events"]))

    def as_json(self) -> str:
        """Return it as a job keeps it, with its secret."""
        return orjson.dumps({"url": self.url, "secret": self.secret, "events": self.events}).decode()

    def signature(self, event_id: str, timestamp: int, body: bytes) -> str:
        """Return the header `webhook-signature` of a message that is sent at `timestamp` (s since the epoch)."""
        signed = f"{event_id}.{timestamp}.".encode() + body
        digest = hmac.digest(_key_of(self.secret), signed, hashlib.sha256)
        return f"v1,{base64.b64encode(digest).decode()}"


def event_of(status: str) -> str:
    """Return the event that a job's status is the reason for."""
    return f"batch.{status}"


def parse_webhook(url: str, secret: str, events: Sequence[str] | None, private_addresses: bool) -> Webhook:
    """Return a webhook as it was asked for; with `private_addresses` it may be in a private network, and without TLS.

    Raises InvalidRequest.
    """
    _check_url(url, private_addresses)
    try:
        size = len(_key_of(secret))
    except ValueError:
        size = 0
    if not SHORTEST_SECRET <= size <= LONGEST_SECRET:
        form = f"{SECRET_PREFIX} and {SHORTEST_SECRET} to {LONGEST_SECRET} bytes in base64"
        raise InvalidRequest(f"webhook.secret must be {form}, such as whsec_$(openssl rand -base64 32)", "webhook.secret")
    for event in events or ():
        if event not in EVENTS:
            raise InvalidRequest(f"webhook.events: {event!r} is none of {', '.join(EVENTS)}", "webhook.events", "invalid_value")
    return Webhook(url, secret, tuple(dict.fromkeys(events or EVENTS)))


def _key_of(secret: str) -> bytes:
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(secret)
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError(secret) from exc


def _check_url(url: str, private_addresses: bool) -> None:
    problem = ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if not host or parts.scheme not in ("http", "https") or len(url) > LONGEST_URL or not url.isprintable() or " " in url:
        problem = f"must be an https:// address of at most {LONGEST_URL:,} characters"
    elif not is_encodable(host):
        problem = f"{host} can't be the name of a host: its labels have 1 to 63 characters"
    elif parts.username is not None or parts.password is not None:
        problem = "must not hold a user or a password; what is sent there is signed with the secret"
    elif not private_addresses and (host == "localhost" or is_private(host)):
        problem = f"{host} is a private address, which `webhooks.private_addresses` does not allow"
    elif not private_addresses and parts.scheme != "https":
        problem = "must begin with https://"
    if problem:
        raise InvalidRequest(f"webhook.url {problem}", "webhook.url", "invalid_value")
