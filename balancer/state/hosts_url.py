"""URLs that name several Redis servers: `redis+KIND://[user:password@]host[:port][,host[:port]...]/path?options`.

`rediss+KIND://` is the same with TLS. The options are redis-py's (`ssl_ca_certs` and the like), and some of a kind's own.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from redis.asyncio.connection import parse_url

__all__ = ["HostsUrl"]

_SCHEME = re.compile(r"(rediss?)\+([a-z]+)://")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/?#@,\s]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class HostsUrl:
    """What such a URL says. `options` are those of a client of one of the servers: user, password, TLS (redis-py's)."""

    hosts: tuple[tuple[str, int], ...]
    path: str
    has_tls: bool
    options: Mapping[str, Any] = field(repr=False)
    own_options: Mapping[str, str] = field(repr=False)
    """Options that are of this kind of URL, as far as they are given."""

    @classmethod
    def parse(cls, url: str, kind: str, default_port: int, own_options: Collection[str] = ()) -> Self | None:
        """Read a URL; None if it is of another kind. Raises ValueError that says what is wrong."""
        matched = _SCHEME.match(url)
        if matched is None or matched[2] != kind:
            return None
        parts = urlsplit(url)
        credentials, _, hosts = parts.netloc.rpartition("@")
        query = parse_qs(parts.query)
        own = {name: query.pop(name)[0] for name in own_options if name in query}
        user = f"{credentials}@" if credentials else ""
        options: dict[str, Any] = dict(parse_url(f"{matched[1]}://{user}unused/?{urlencode(query, doseq=True)}"))
        has_tls = options.pop("connection_class", None) is not None
        for name in ("host", "port", "db"):
            options.pop(name, None)
        found = tuple(_host(host, kind, default_port) for host in hosts.split(","))
        return cls(found, parts.path.strip("/"), has_tls, options, own)

    @property
    def tls_options(self) -> dict[str, Any]:
        """Those of `options` that are about TLS, for a client's constructor."""
        tls = {name: value for name, value in self.options.items() if name.startswith("ssl_")}
        return tls | ({"ssl": True} if self.has_tls else {})


def _host(text: str, kind: str, default_port: int) -> tuple[str, int]:
    matched = _HOST.fullmatch(text)
    if matched is None or not 0 < int(matched[2] or default_port) < 65536:
        raise ValueError(f"{text!r} is no host or host:port of a {kind}'s servers")
    return matched[1].strip("[]"), int(matched[2] or default_port)
