"""Connections over TLS, and through proxies, which the environment names."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from balancer.http import ConnectFailed, PooledClient, PreparedRequest
from balancer.http.client import Origin
from balancer.http.opening import _tls
from balancer.http.proxies import proxy_for
from tests.certificates import write_certificate
from tests.raw_server import serve_raw

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy, and no certificates from a test before."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    _tls.cache_clear()
    yield
    _tls.cache_clear()


@pytest.fixture
async def client() -> AsyncIterator[PooledClient]:
    made = PooledClient(connect_timeout=5.0)
    yield made
    await made.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for 127.0.0.1, signed by itself, and its key."""
    return write_certificate(tmp_path_factory.mktemp("tls") / "both.pem")


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        writer.write(ANSWER)


def https_server(certificate: Path) -> AbstractAsyncContextManager[str]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return serve_raw(respond, tls)


def address_of(url: str) -> str:
    return url.partition("://")[2].removesuffix("/v1")


async def ask(client: PooledClient, url: str) -> bytes:
    return (await client.send(PreparedRequest("POST", url, {}), b"{}", 5.0)).body


async def test_a_certificate_of_the_environments_choice_is_trusted(
    client: PooledClient, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with https_server(certificate) as url:
        assert [await ask(client, url) for _ in range(2)] == [b"{}"] * 2
        await client.aclose()


async def test_a_certificate_that_nothing_vouches_for_is_refused(client: PooledClient, certificate: Path) -> None:
    async with https_server(certificate) as url:
        with pytest.raises(ConnectFailed, match="the server's certificate does not hold: self-signed certificate"):
            await ask(client, url)


async def test_a_server_without_tls_is_distinguished_from_one_with_it(client: PooledClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve_raw(answer) as url:
        with pytest.raises(ConnectFailed):
            await ask(client, f"https://{address_of(url)}/v1")


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "http://gpu1", None),
        ({"http_proxy": "http://proxy:3128"}, "http://gpu1", ("proxy", 3128)),
        ({"http_proxy": "http://proxy:3128"}, "https://gpu1", None),
        ({"https_proxy": "proxy:3128"}, "https://gpu1", ("proxy", 3128)),
        ({"HTTPS_PROXY": "http://proxy"}, "https://gpu1", ("proxy", 80)),
        ({"ALL_PROXY": "http://proxy:1"}, "https://gpu1", ("proxy", 1)),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "gpu1,.local"}, "http://gpu1", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "gpu1,.local"}, "http://gpu2.local", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "*"}, "http://gpu2", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "gpu1"}, "http://gpu2", ("proxy", 3128)),
    ],
)
def test_the_environment_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, proxy: tuple[str, int] | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    scheme, _, host = url.partition("://")
    found = proxy_for(Origin(scheme, host, 443 if scheme == "https" else 80))
    assert (found and (found.host, found.port)) == proxy


def test_a_proxy_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    with pytest.raises(ConnectFailed, match="'socks5'; only http:// proxies"):
        proxy_for(Origin("http", "gpu1", 80))


async def test_a_proxy_is_sent_the_whole_address_of_an_http_server(client: PooledClient, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER)

    async with serve_raw(proxy) as url:
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{address_of(url)}")
        assert await ask(client, "http://gpu1.internal:8000/v1") == b"{}"
        await client.aclose()
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"POST http://gpu1.internal:8000/v1 HTTP/1.1"
    assert b"host: gpu1.internal:8000" in lines and b"proxy-authorization: Basic dXNlcjpwQHNz" in lines


async def test_a_proxy_opens_a_tunnel_to_an_https_server(
    client: PooledClient, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0])
        host, _, port = head.split(b" ")[1].decode().partition(":")
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(forward(reader, back), forward(there, writer))
        finally:
            back.close()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with https_server(certificate) as url, serve_raw(proxy) as way:
        monkeypatch.setenv("https_proxy", f"http://{address_of(way)}")
        assert [await ask(client, url) for _ in range(2)] == [b"{}"] * 2
        await client.aclose()
    assert asked == [f"CONNECT {address_of(url)} HTTP/1.1".encode()]


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
    writer.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"", b"x" * 20_000], ids=["a refusal", "nothing", "no end"]
)
async def test_a_proxy_that_opens_no_tunnel_says_so(client: PooledClient, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with serve_raw(proxy) as way:
        monkeypatch.setenv("https_proxy", f"http://{address_of(way)}")
        with pytest.raises(ConnectFailed, match="the proxy"):
            await ask(client, "https://gpu1.internal/v1")
