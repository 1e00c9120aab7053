"""`api`: runs the API, in one process or in several that share a port."""

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from api_roadbalancer.cli.children import Children
from api_roadbalancer.cli.processes import Config, LogLevel, Port, Watch, check_port, start_logging
from api_roadbalancer.processes.ports import shared_port
from api_roadbalancer.processes.session import Session, open_session
from api_roadbalancer.processes.supervisor import Child
from balancer.runtime.rereading import note_hangups
from jobs.access.exposure import refuse_exposure

__all__ = ["api"]


def api(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Port = 4000,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the port.")] = 1,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without any API key.")] = False,
    watch: Watch = False,
    log_level: LogLevel = "",
    shares_port: Annotated[bool, typer.Option("--shares-port", hidden=True)] = False,
) -> None:
    """Run the OpenAI-compatible API."""
    if not shares_port:
        check_port(host, port)
    with open_session(config) as session:
        level = start_logging(session, log_level, "INFO")
        if processes > 1:
            options = ["--host", host, *(["--insecure"] if insecure else []), "--log-level", level]
            asyncio.run(refuse_exposure(session.configuration, session.redis_url, host, insecure))
            with shared_port(host, port) as held:  # and does not listen: it only keeps the port
                _supervise(session, processes, [*options, "--port", str(held.getsockname()[1])], watch)
            return
        from api_roadbalancer.telemetry.otlp import start_telemetry, stop_telemetry
        from producer_api import run_api
        from workers.messages import celery_wake

        note_hangups()
        configuration = replace(session.configuration, watch=watch)
        wake = celery_wake(configuration, session.redis_url)
        listener = shared_port(host, port) if shares_port else None
        start_telemetry("roadbalancer-api")
        try:
            run_api(configuration, session.redis_url, wake, host, port, insecure, listener)
        finally:
            stop_telemetry()


def _supervise(session: Session, processes: int, options: list[str], watch: bool) -> None:
    """Run so many processes until SIGTERM or SIGINT. Raises ChildFailed if they do not come up."""
    with Children() as children:
        settings = str(session.settings_file())
        for number in range(1, processes + 1):
            arguments = ["api", "--config", settings, "--shares-port", *options]
            children.start(Child(f"api-{number}", arguments, takes_hangups=True))
        children.wait(session, session.configuration.source, watch)
