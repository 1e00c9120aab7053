"""What each path answers. Chat requests are served over time; everything else at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson

from api_roadbalancer.mock.behaviour import BehaviourError
from api_roadbalancer.mock.chat import ChatExchange
from api_roadbalancer.mock.kinds import KINDS
from api_roadbalancer.mock.simulation import Simulation
from api_roadbalancer.mock.wire import Channel, Request, error_body, response

__all__ = ["Routes"]

PREFIX = b"/v1"
CHAT = b"/chat/completions"
OTHERS = {kind.encode(): kind for kind in KINDS}
MODEL = b"/models/"
REFUSED = "invalid_request_error"

Page = Callable[[Request], tuple[int, bytes]]  # status and JSON
SERVED_OVER_TIME = None  # in a page's place


class Routes:
    def __init__(self, simulation: Simulation, loop: asyncio.AbstractEventLoop) -> None:
        self._simulation = simulation
        self._loop = loop
        self._pages: dict[bytes, dict[bytes, Page | None]] = {
            **{path: {b"POST": SERVED_OVER_TIME} for path in (CHAT, *OTHERS)},
            b"/models": {b"GET": self._models},
            b"/health": {b"GET": lambda request: (200, b"{}")},
            b"/mock/stats": {b"GET": self._stats},
            b"/mock/requests": {b"GET": self._requests},
            b"/mock/in_flight_samples": {b"GET": self._in_flight_samples},
            b"/mock/keys_in_flight": {b"GET": self._keys_in_flight},
            b"/mock/behaviour": {b"GET": self._behaviour, b"POST": self._change_behaviour},
            b"/mock/reset": {b"POST": self._reset},
        }

    def start(self, request: Request, channel: Channel) -> ChatExchange | None:
        """Returns the exchange to cancel should the client go; None where the answer is already written."""
        path = request.path.removeprefix(PREFIX)
        if (path == CHAT or path in OTHERS) and request.method == b"POST" and not request.too_large:
            kind = OTHERS.get(path, CHAT.decode())
            exchange = ChatExchange(self._simulation, self._loop, request, channel, kind)
            exchange.start()
            return exchange
        status, body, headers = self._page(path, request)
        channel.write(response(request, status, body, headers=headers))
        channel.finish()
        return None

    def _page(self, path: bytes, request: Request) -> tuple[int, bytes, bytes]:
        if request.too_large:
            return 413, error_body("The body is too large.", REFUSED, "request_too_large"), b""
        methods = {b"GET": self._model} if path.startswith(MODEL) else self._pages.get(path)
        if methods is None:
            message = f"Unknown path: {request.path.decode('latin-1')}"
            return 404, error_body(message, REFUSED, "not_found"), b""
        page = methods.get(b"GET" if request.method == b"HEAD" else request.method)
        if page is None:
            allowed = b", ".join(methods)
            message = f"Method not allowed; there is {allowed.decode()}."
            return 405, error_body(message, REFUSED, "method_not_allowed"), b"allow: %b\r\n" % allowed
        return *page(request), b""

    def _models(self, request: Request) -> tuple[int, bytes]:
        models = [_model_object(name) for name in self._simulation.behaviour.models]
        return 200, orjson.dumps({"object": "list", "data": models})

    def _model(self, request: Request) -> tuple[int, bytes]:
        name = unquote(request.path.removeprefix(PREFIX).removeprefix(MODEL).decode("latin-1"))
        if self._simulation.serves(name):
            return 200, orjson.dumps(_model_object(name))
        return 404, error_body(f"The model '{name}' does not exist.", REFUSED, "model_not_found", "model")

    def _stats(self, request: Request) -> tuple[int, bytes]:
        in_flight = self._simulation.in_flight
        gauge = {"in_flight": in_flight.now, "max_in_flight": in_flight.maximum}
        return 200, orjson.dumps(self._simulation.tally.as_dict() | gauge)

    def _requests(self, request: Request) -> tuple[int, bytes]:
        tally = self._simulation.tally
        return 200, orjson.dumps({"counts": tally.seen_keys, "completed": tally.completed_keys})

    def _in_flight_samples(self, request: Request) -> tuple[int, bytes]:
        return 200, orjson.dumps({"seconds_at": self._simulation.in_flight.seconds_at()})

    def _keys_in_flight(self, request: Request) -> tuple[int, bytes]:
        return 200, orjson.dumps({"keys": self._simulation.in_flight.keys})

    def _behaviour(self, request: Request) -> tuple[int, bytes]:
        return 200, orjson.dumps(self._simulation.behaviour.as_dict())

    def _change_behaviour(self, request: Request) -> tuple[int, bytes]:
        try:
            changes: Any = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            changes = None
        if not isinstance(changes, dict):
            return 400, error_body("The body must be a JSON object of options.", REFUSED)
        try:
            behaviour = self._simulation.behaviour.changed(changes)
        except BehaviourError as exc:
            return 400, error_body(str(exc), REFUSED, "bad_option", exc.option)
        self._simulation.change(behaviour)
        return self._behaviour(request)

    def _reset(self, request: Request) -> tuple[int, bytes]:
        self._simulation.reset()
        return 200, b"{}"


def _model_object(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "simulated"}
