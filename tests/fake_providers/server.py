"""A fake provider behind a real socket. Also as a program: `python -m tests.fake_providers.server PROVIDER [PORT]`."""

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from balancer.endpoint import Endpoint
from tests.fake_providers.base import FakeProvider, ReceivedRequest, Refused, Reply, Script

__all__ = ["ProviderServer"]

Answering = Callable[[ReceivedRequest], "Script | Reply"]


class ProviderServer:
    """Answers on a port of its own, on threads. `answer` may be set at any time; `received` is every request that was understood,
    `refused` the reasons of those that were not. Use as a context manager."""

    def __init__(self, fake: FakeProvider, answer: Script | Reply | Answering = Script(), port: int = 0) -> None:  # noqa: B008
        fake.prepare()
        self.fake = fake
        self.answer = answer
        self.received: list[ReceivedRequest] = []
        self.refused: list[str] = []
        self.bodies: list[bytes] = []
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)

    @property
    def address(self) -> str:
        """Where it is: `http://127.0.0.1:1234`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def endpoint(self, **settings: Any) -> Endpoint:
        """Return an endpoint that points here."""
        return self.fake.endpoint(self.address, **settings)

    def __enter__(self) -> "ProviderServer":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, path: str, headers: dict[str, str]) -> Reply:
        """Answer a GET."""
        return self.fake.get(path)

    def delete(self, path: str, headers: dict[str, str]) -> Reply:
        """Answer a DELETE."""
        return Reply(405, b"{}")

    def reply_to(self, path: str, headers: dict[str, str], body: bytes) -> "Reply | tuple[Script, ReceivedRequest]":
        """Decide on the answer to a POST; a stream is left to the handler."""
        self.bodies.append(body)
        try:
            received = self.fake.read_request(path, headers, body)
        except Refused as exc:
            self.refused.append(str(exc))
            return self.fake.refuse(str(exc))
        self.received.append(received)
        answer = self.answer(received) if callable(self.answer) else self.answer
        if isinstance(answer, Reply):
            return answer
        return (answer, received) if received.stream else self.fake.whole_answer(answer, received)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def _handler_of(server: ProviderServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answer = server.reply_to(self.path, self._headers, body)
            if isinstance(answer, Reply):
                self._send(answer)
                return
            self.send_response(200)
            self.send_header("content-type", server.fake.stream_type)
            self.send_header("connection", "close")
            self.end_headers()
            for piece in server.fake.stream(*answer):
                self.wfile.write(piece)
                self.wfile.flush()
            self.close_connection = True

        def do_GET(self) -> None:
            self._send(server.get(self.path, self._headers))

        def do_DELETE(self) -> None:
            self._send(server.delete(self.path, self._headers))

        @property
        def _headers(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def _send(self, reply: Reply) -> None:
            if reply.status:
                _write(self, reply)
            else:  # the answer is lost on its way
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


def _write(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(reply.body)))
    handler.end_headers()
    handler.wfile.write(reply.body)


def main() -> None:
    """Serve until the process is ended; print the address."""
    from tests.fake_providers import FAKE_PROVIDERS

    server = ProviderServer(FAKE_PROVIDERS[sys.argv[1]], port=int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with server:
        print(server.address, flush=True)
        server._thread.join()


if __name__ == "__main__":
    main()
