"""Where the images, sounds and documents of a request may come from.

An endpoint fetches what a request links to from inside its own network. With the policy `https`, the default, callers of the API
can't have it read what only that network reaches. A host is judged by how it is written: the endpoint looks the name up itself,
so that checking here what it stands for would prove nothing. Where that matters, `data` allows no links at all.
"""

import ipaddress
import itertools
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from balancer.configuration.values import MediaUrls
from jobs.access.addresses import is_private

__all__ = ["MediaUrls", "Source", "allowed", "media_sources", "refusal_of", "source_of"]


class Source(StrEnum):
    """What a link leads to."""

    DATA = "data"
    HTTPS = "https"
    HTTP = "http"
    PRIVATE = "private"
    OTHER = "other"


_ALLOWED = {
    MediaUrls.DATA: frozenset({Source.DATA}),
    MediaUrls.HTTPS: frozenset({Source.DATA, Source.HTTPS}),
    MediaUrls.ANY: frozenset(Source),
}
_WHAT = {
    Source.HTTPS: "links to an https:// address",
    Source.HTTP: "links to an address without TLS",
    Source.PRIVATE: "links to an address in a private network",
    Source.OTHER: "is neither a data: nor an https:// URL",
}
_HOW = {
    MediaUrls.DATA: "send its content as a data: URL",
    MediaUrls.HTTPS: "send its content as a data: URL, or link to a public https:// address",
}
_NESTED = frozenset({dict, list})
_PROMPTS = frozenset({"messages", "input", "prompt", "query", "queries", "documents", "text_1", "text_2"})
_URL_FIELDS = frozenset(map("".join, itertools.product("uU", "rR", "lL"))) | frozenset(
    map("".join, itertools.product("uU", "rR", "iI"))
)
"""How the names of fields with links end, in any case."""
_PRIVATE_NAMES = frozenset({"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private"})
"""Last labels of names that no public domain has (RFC 6761, RFC 6762, RFC 9476, ICANN's reserved names)."""


def allowed(policy: MediaUrls, source: Source) -> bool:
    """Whether a policy allows such links."""
    return source in _ALLOWED[policy]


def refusal_of(policy: MediaUrls, source: Source) -> str:
    """Say why a policy refuses such a link, and what to do; to follow the name of the field."""
    return f"{_WHAT[source]}, which `media_urls: {policy}` doesn't allow; {_HOW[policy]}"


def media_sources(body: Mapping[str, Any]) -> list[tuple[str, Source]]:
    """Return the place of each link to a medium, such as `messages[0].content[1].image_url.url`, and what it leads to.

    Links are the strings in fields whose names end in `url` or `uri`, at any depth within a prompt; text isn't looked at.
    """
    found: list[tuple[str, Source]] = []
    for name, value in body.items():
        if type(value) in _NESTED and name in _PROMPTS and (links := _links(value)):
            found += [(name + place, source_of(url)) for place, url in links]
    return found


def _links(value: Any) -> list[tuple[str, str]]:
    """Return each link with its place within what is nested, which is no deeper than jobs.intake.lines.MAX_DEPTH.

    Every line of every input is walked: places are put together only where there is a link.
    """
    found: list[tuple[str, str]] = []
    if type(value) is list:
        for number, inner in enumerate(value):
            if type(inner) in _NESTED and (links := _links(inner)):
                found += [(f"[{number}]{place}", url) for place, url in links]
        return found
    for name, inner in value.items():
        kind = type(inner)
        if kind is str:
            if name[-3:] in _URL_FIELDS:
                found.append((f".{name}", inner))
        elif kind in _NESTED and (links := _links(inner)):
            found += [(f".{name}{place}", url) for place, url in links]
    return found


def source_of(url: str) -> Source:
    """Classify one link. What parsers of URLs could read in two ways is `other`."""
    if url[:5].lower() == "data:":
        return Source.DATA
    if any(character <= " " or character in "\\\x7f" for character in url):
        return Source.OTHER
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        ascii_host = host if ":" in host else host.encode("idna").decode().lower()
        parts.port  # noqa: B018  raises ValueError for what is no port
    except ValueError:
        return Source.OTHER
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or "%" in host:
        return Source.OTHER
    if _is_within(ascii_host):
        return Source.PRIVATE
    return Source.HTTPS if parts.scheme == "https" else Source.HTTP


def _is_within(host: str) -> bool:
    """Whether a host is a private address, in any notation, or a name that only a private network knows."""
    if ":" in host:
        return is_private(host)
    last = host.rpartition(".")[2]
    if last[:1].isdigit():  # an IPv4 address: no top-level domain begins with a digit
        return not _is_plain_address(host) or is_private(host)
    return "." not in host or last in _PRIVATE_NAMES or host.endswith("home.arpa")


def _is_plain_address(host: str) -> bool:
    """Whether an IPv4 address is written as four decimal numbers: not in octal or hexadecimal, or as one number."""
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
