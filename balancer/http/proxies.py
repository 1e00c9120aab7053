"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as curl reads them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib import request as environment
from urllib.parse import unquote, urlsplit

from balancer.http.client import Origin
from balancer.http.errors import ConnectFailed

__all__ = ["Proxy", "proxy_for"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `headers` hold what it asks for to let requests through."""

    host: str
    port: int
    headers: Mapping[str, str]

    def tunnel_request(self, origin: Origin) -> bytes:
        """Return the request that opens a tunnel to an https server (RFC 9110, 9.3.6)."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"host: {host}:{origin.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "\r\n"]).encode()


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy that the environment names for requests to `origin`. Raises ConnectFailed for one of another kind."""
    proxies: dict[str, str] = environment.getproxies_environment()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url or environment.proxy_bypass_environment(f"{origin.host}:{origin.port}", proxies):  # type: ignore[attr-defined]
        return None
    address = urlsplit(url if "://" in url else f"http://{url}")
    if address.scheme != "http" or not address.hostname:
        raise ConnectFailed(f"the environment names a proxy of the kind {address.scheme!r}; only http:// proxies can be used")
    headers = {}
    if address.username:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["proxy-authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return Proxy(address.hostname, address.port or 80, headers)
