"""Runs the app under uvicorn."""

import asyncio
import signal
import socket

import uvicorn

from balancer.configuration import Configuration
from balancer.runtime.loop import new_event_loop
from balancer.runtime.process import collect_garbage_less_often, raise_descriptor_limit
from jobs.access.exposure import Door, is_loopback, refuse_exposure
from jobs.dispatch.queueing import Wake
from producer_api.app import create_app
from producer_api.context import Limits
from producer_api.http.protocol import protocol_for

__all__ = ["make_server", "run_api"]

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than the minute of usual proxies, so that they are the ones who close."""
GRACE = 20
"""Seconds that requests under way have to end when the server stops."""


def run_api(
    configuration: Configuration,
    redis_url: str,
    wake: Wake,
    host: str,
    port: int,
    insecure: bool = False,
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, on a socket that is bound already if there is a `listener`. Raises SystemExit if the port
    can't be used or Redis does not answer.

    Beyond this machine a key is asked for, unless `insecure`; raises ConfigurationError if there is none.
    """
    raise_descriptor_limit()
    loop = new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(refuse_exposure(configuration, redis_url, host, insecure))
    door = Door(configuration.require_keys, insecure, is_loopback(host))
    server = make_server(configuration, redis_url, wake, host, port, door=door)
    # uvicorn raises the signal again that has ended it. This process has things to put down before it ends.
    signal.signal(signal.SIGTERM, lambda *_: None)
    collect_garbage_less_often()
    loop.run_until_complete(server.serve([listener] if listener else None))
    # The loop is not closed: threads of the object store (Rust) may still come to it, and the process ends now anyway.
    if not server.started:
        raise SystemExit(3)


def make_server(
    configuration: Configuration,
    redis_url: str,
    wake: Wake,
    host: str,
    port: int,
    limits: Limits | None = None,
    door: Door | None = None,
) -> uvicorn.Server:
    """Return a server that has not been started. `door` says who is let in while there is no API key at all."""
    config = uvicorn.Config(
        create_app(configuration, redis_url, wake, limits, door),
        host=host,
        port=port,
        loop="auto",  # uvloop, where it is installed (not on Windows)
        http=protocol_for(configuration.connections_per_address),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the streams without an end of their own, then wait for the requests under way."""
        app = self.config.app
        app.state.stopping.set()  # type: ignore[union-attr]
        await super().shutdown(sockets)
