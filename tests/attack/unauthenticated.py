"""What is tried without a key: floods, foreign pages in a browser, requests that two parsers read differently."""

import asyncio
import socket

import httpx

from tests.attack.raw import HALF_OPEN, HEADS, Watch, brackets, half_open, send_endless
from tests.attack.systems import System

__all__ = ["UNAUTHENTICATED", "foreign_pages", "locked_after_flush"]

DATA = (
    "/v1/models",
    "/metrics",
    "/v1/files",
    "/v1/batches",
    "/api/v1/jobs",
    "/api/v1/keys",
    "/api/v1/usage",
    "/api/v1/system/info",
)
FOREIGN = (
    {"Host": "evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
)
FLOWER_COMMANDS = (
    "/api/worker/shutdown/any",
    "/api/worker/pool/restart/any",
    "/api/worker/pool/grow/any",
    "/api/worker/queue/cancel-consumer/any?queue=any",
    "/api/task/send-task/roadbalancer.shard",
    "/api/task/async-apply/roadbalancer.shard",
    "/api/task/revoke/any",
)


def ask(system: System, path: str, method: str = "GET", **options: object) -> httpx.Response:
    return httpx.request(method, system.api + path, trust_env=False, timeout=30, **options)  # type: ignore[arg-type]


async def data_without_a_key(system: System) -> list[str]:
    """Pages are open, what they show is not."""
    pages = [f"{path} answers {code}" for path in ("/", "/docs") if (code := ask(system, path).status_code) != 200]
    wrong: list[dict[str, str]] = [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}]
    wrong.append({"Authorization": f"Basic {system.key}"})
    open_to_all = [
        f"{path} answers {code} with {headers or 'no key'}"
        for path in DATA
        for headers in wrong
        if (code := ask(system, path, headers=headers).status_code) != 401
    ]
    return pages + open_to_all


async def flower_commands(system: System) -> list[str]:
    """No page of another site, and nothing without a login, commands the workers."""
    found = []
    for path in FLOWER_COMMANDS:
        for headers, login in [({}, None), *((foreign, system.login) for foreign in FOREIGN[1:])]:
            auth = httpx.BasicAuth(*login) if login else None
            answer = httpx.post(system.flower + path, headers=headers, auth=auth, trust_env=False, timeout=10)
            if answer.status_code not in (401, 403, 404):
                found.append(f"{path} answers {answer.status_code} to {headers or 'no login'}")
    return found


async def endless_heads(system: System) -> list[str]:
    found = []
    watch = Watch(system.api, system.memory)
    watch.start()
    for name, (head, piece, times) in HEADS.items():
        try:
            answer = await watch.withstands(lambda h=head, p=piece, t=times: send_endless(_port(system), h, p, t))  # type: ignore[misc]
            if answer and not answer.startswith(b"HTTP/1.1 431"):
                found.append(f"{name}: {answer[:60]!r}")
        except AssertionError as exc:
            found.append(f"{name}: {exc}")
    await watch.stop()
    return found


async def half_open_connections(system: System) -> list[str]:
    watch = Watch(system.api, system.memory)
    watch.start()
    found = []
    try:
        answer = await watch.withstands(lambda: asyncio.to_thread(half_open, _port(system), HALF_OPEN))
        if not answer.startswith(b"HTTP/1.1 408"):
            found.append(f"the last of {HALF_OPEN} connections was answered {answer[:60]!r}")
    except (AssertionError, TimeoutError) as exc:
        found.append(str(exc))
    await watch.stop()
    return found


async def amplified_json(system: System) -> list[str]:
    """9 MB that would take a gigabyte, from a holder of a key."""
    found = []
    key = f"Authorization: Bearer {system.key}\r\n".encode()
    watch = Watch(system.api, system.memory)
    watch.start()
    for path in (
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/responses",
        "/v1/batches",
        "/api/v1/jobs",
        "/api/v1/chat",
    ):
        head, body = brackets(path, key)
        try:
            answer = await watch.withstands(lambda h=head, b=body: send_endless(_port(system), h, b, 1))  # type: ignore[misc]
            if not answer.startswith(b"HTTP/1.1 413"):
                found.append(f"{path}: {answer[:60]!r}")
        except AssertionError as exc:
            found.append(f"{path}: {exc}")
    await watch.stop()
    return found


SMUGGLED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "length in words": b"Content-Length: five\r\n\r\nhello",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a line break in a header": b"X-A: a\rb\r\n\r\n",
    "a folded header": b"X-A: a\r\n b\r\n\r\n",
    "a chunk of negative size": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
}


async def smuggled_requests(system: System) -> list[str]:
    """Requests that a proxy and a server could take for different ones are refused, and their connection is closed."""
    found = []
    for name, rest in SMUGGLED.items():
        with socket.create_connection(("127.0.0.1", _port(system)), timeout=10) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n" + rest)
            answers = b""
            try:
                while piece := connection.recv(4096):
                    answers += piece
                    if answers.count(b"HTTP/1.1 ") > 1:
                        break
            except TimeoutError:
                pass
        if answers.count(b"HTTP/1.1 ") > 1 or answers[9:10] not in (b"4", b""):
            found.append(f"{name}: {answers[:80]!r}")
    return found


async def reachable_parts(system: System) -> list[str]:
    """Files that others could read, a Redis that others could reach."""
    return system.exposed()


async def foreign_pages(system: System) -> list[str]:
    """A server without keys takes no requests of other sites' pages."""
    chat = {"model": "simulated", "messages": [{"role": "user", "content": "x"}]}
    found = []
    for headers in FOREIGN:
        tried = [(path, ask(system, path, headers=headers).status_code) for path in DATA]
        tried.append(
            ("/v1/chat/completions", ask(system, "/v1/chat/completions", "POST", json=chat, headers=headers).status_code)
        )
        found += [f"{path} answers {code} to {headers}" for path, code in tried if code != 403]
    if ask(system, "/v1/models").status_code != 200:
        found.append("a request of this machine's is refused too")
    return found


async def locked_after_flush(system: System) -> list[str]:
    """Access stays closed when Redis has lost its keys."""
    system.flush_redis()
    await asyncio.sleep(2.5)  # what a process remembers of Redis holds for two seconds
    return [f"{path} answers {code}" for path in DATA if (code := ask(system, path).status_code) not in (401, 503)]


def _port(system: System) -> int:
    return int(system.api.rpartition(":")[2])


UNAUTHENTICATED = (
    data_without_a_key,
    flower_commands,
    smuggled_requests,
    endless_heads,
    half_open_connections,
    amplified_json,
    reachable_parts,
)
