"""A server that speaks Parrot, to try the adapter with: `python parrot_server.py [PORT]`. It repeats the last line."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "polly"


class Parrot(BaseHTTPRequestHandler):
    """Repeats what a human says. To "too much" it answers that it is tired."""

    def do_GET(self) -> None:
        self._reply(200, {"voices": ["grey", "amazon"]} if self.path == "/voices" else {})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/say" or self.headers["x-parrot-key"] != KEY:
            self._reply(401, {"trouble": "who are you?"})
            return
        said = request["lines"][-1]["says"]
        if said == "too much":
            self._reply(429, {"trouble": "I am tired", "come_back_in": 3})
            return
        words = said.split()
        end = {"why": "done", "heard": len(words), "squawked": len(words) + 1}
        answer = f"{request['voice']}, {request.get('accent', 'plain')}: {said}!"
        if request["live"]:
            self._stream([{"bit": answer[:5]}, {"bit": answer[5:]}, end])
        else:
            self._reply(200, {"says": answer, **end})

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for event in events:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(port: int = 0) -> ThreadingHTTPServer:
    """Return a server that listens; `serve_forever` answers."""
    return ThreadingHTTPServer(("127.0.0.1", port), Parrot)


if __name__ == "__main__":
    with serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8009) as server:
        server.serve_forever()
