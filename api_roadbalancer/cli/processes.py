"""Commands for single processes, for containers and services: `worker`, `flower`, `mock`."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api_roadbalancer.processes.ports import is_free
from balancer.configuration.environment import environment
from balancer.errors import ConfigurationError
from balancer.runtime.rereading import note_hangups

if TYPE_CHECKING:
    from api_roadbalancer.processes.session import Session

__all__ = ["Config", "LogLevel", "Port", "Watch", "check_port", "flower", "mock", "start_logging", "worker"]

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file; else $ROADBALANCER_CONFIG, else the environment.")
]
Port = Annotated[int, typer.Option(envvar="SERVER_PORT", help="Port of the API.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Read the configuration's endpoints again when its file changes, not after SIGHUP only.")
]
LogLevel = Annotated[
    str, typer.Option(envvar="LOG_LEVEL", help="DEBUG, INFO (with a line for each request and job), WARNING or ERROR.")
]
"""Left out ("") it is the configuration's `log.level`, and else the command's own."""
FLOWER_COLUMNS = "name,args,state,result,retries,received,runtime,worker,uuid"


def start_logging(session: "Session", given: str, usual: str) -> str:
    """Log as the configuration says, from the level that was given on, and return that. Raises ConfigurationError."""
    from api_roadbalancer.telemetry import logs

    configuration = session.configuration
    level = given.upper() or configuration.log.level or usual
    in_file = environment().get("LOG_FILE") or configuration.log.file
    logs.start_logging(level, replace(configuration.log, file=in_file))
    return level


def check_port(host: str, port: int, option: str = "--port") -> None:
    """Raise InvalidRequest if a port can't be listened on; 0 stands for any that is free."""
    if port and not is_free(host, port):
        from jobs.errors import InvalidRequest

        raise InvalidRequest(f"port {port} is in use; choose another with {option}")


def worker(
    config: Config = None,
    endpoints: Annotated[str, typer.Option(help="Serve only these endpoints' queues: names by comma.")] = "",
    name: Annotated[str, typer.Option(help="Name shown in Flower.")] = "",
    watch: Watch = False,
    log_level: LogLevel = "",
) -> None:
    """Run a worker until SIGTERM."""
    from api_roadbalancer.processes.session import open_session
    from api_roadbalancer.telemetry.otlp import start_telemetry, stop_telemetry
    from workers.main import run_worker

    with open_session(config) as session:
        chosen = [part.strip() for part in endpoints.split(",") if part.strip()]
        level = start_logging(session, log_level, "INFO")
        note_hangups()
        start_telemetry("roadbalancer-worker")
        try:
            run_worker(replace(session.configuration, watch=watch), session.redis_url, chosen, name, level)
        finally:
            stop_telemetry()


def flower(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5555,
    basic_auth: Annotated[str, typer.Option(envvar="FLOWER_BASIC_AUTH", help="user:password; needed beyond this machine.")] = "",
) -> None:
    """Run Flower, the monitor of queues, workers and shards."""
    from api_roadbalancer.processes.flower_guard import guard_flower
    from api_roadbalancer.processes.session import open_session
    from jobs.access.exposure import is_loopback
    from workers.messages import make_celery

    basic_auth = basic_auth or environment().get("FLOWER_BASIC_AUTH", "")
    if not is_loopback(host) and not basic_auth:
        raise ConfigurationError("--host", host, "would let anybody in: set FLOWER_BASIC_AUTH=user:password")
    check_port(host, port)
    with open_session(config) as session:
        app = make_celery(session.redis_url, [endpoint.name for endpoint in session.configuration.endpoints])
        if basic_auth:
            # By the environment, so that the password does not stand in the list of processes.
            os.environ["FLOWER_BASIC_AUTH"] = basic_auth
        guard_flower(any_host=bool(basic_auth))
        app.start(
            [
                "flower",
                f"--address={host}",
                f"--port={port}",
                "--purge_offline_workers=60",
                "--max_tasks=5000",
                f"--tasks_columns={FLOWER_COLUMNS}",
            ]
        )


def mock(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    latency: Annotated[float, typer.Option(help="Seconds before an answer.")] = 0.0,
    jitter: Annotated[float, typer.Option(help="Up to this many seconds more, at random.")] = 0.0,
    error_rate: Annotated[float, typer.Option(help="Share of requests answered 500.")] = 0.0,
    rate_limit: Annotated[float, typer.Option(help="Requests a minute; more get 429 with Retry-After. 0: no limit.")] = 0.0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    models: Annotated[str, typer.Option(help="Model names by comma; * takes any name.")] = "simulated,*",
    max_concurrency: Annotated[int, typer.Option(help="More at once get 503. 0: no limit.")] = 0,
    knee: Annotated[int, typer.Option(help="More at once slow each other down. 0: they don't.")] = 0,
    track_keys: Annotated[bool, typer.Option(help="Count by request (GET /mock/requests).")] = True,
) -> None:
    """Run a simulated model server that speaks OpenAI's chat format, with delays and faults."""
    from api_roadbalancer.mock import Behaviour
    from api_roadbalancer.mock import run as run_mock

    check_port(host, port)
    behaviour = Behaviour(
        latency=latency,
        jitter=jitter,
        error_rate=error_rate,
        rate_limit=rate_limit,
        models=tuple(part.strip() for part in models.split(",") if part.strip()),
        max_concurrency=max_concurrency,
        knee=knee,
        track_keys=track_keys,
    )
    run_mock(behaviour, host, port)
