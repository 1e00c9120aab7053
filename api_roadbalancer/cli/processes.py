"""Commands for single processes, for containers and services: `worker`, `flower`, `mock`."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from api_roadbalancer.ports import is_free
from balancer.errors import ConfigurationError
from balancer.runtime.rereading import note_hangups

__all__ = ["Config", "LogLevel", "Port", "Watch", "check_port", "flower", "mock", "set_log_level", "worker"]

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="YAML file; else $ROADBALANCER_CONFIG, else the environment.")
]
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
Port = Annotated[int, typer.Option(envvar="SERVER_PORT", help="Port of the API.")]
Watch = Annotated[
    bool, typer.Option("--watch", help="Read the configuration's endpoints again when its file changes, not after SIGHUP only.")
]
LogLevel = Annotated[
    str, typer.Option(envvar="LOG_LEVEL", help="DEBUG, INFO (with a line for each request and job), WARNING or ERROR.")
]
FLOWER_COLUMNS = "name,args,state,result,retries,received,runtime,worker,uuid"


def set_log_level(level: str) -> str:
    """Log from that level on, to the file `LOG_FILE` too if it is set, and return its name. Raises ConfigurationError."""
    name = level.upper()
    if name not in LOG_LEVELS:
        raise ConfigurationError("--log-level", level, f"is not a log level; choose {', '.join(LOG_LEVELS)}")
    logging.getLogger().setLevel(name)
    if path := os.environ.get("LOG_FILE"):
        _log_to(path)
    # What no line of ours holds need not be found out for each (Python's "Logging HOWTO", "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    return name


def _log_to(path: str) -> None:
    """Add what is logged to a file, which every process of this command adds to."""
    try:
        handler = logging.FileHandler(path)
    except OSError as exc:
        raise ConfigurationError("environment", "LOG_FILE", f"can't be written: {exc.strerror}") from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


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
    log_level: LogLevel = "INFO",
) -> None:
    """Run a worker until SIGTERM."""
    from api_roadbalancer.session import open_session
    from workers.main import run_worker

    with open_session(config) as session:
        chosen = [part.strip() for part in endpoints.split(",") if part.strip()]
        note_hangups()
        run_worker(replace(session.configuration, watch=watch), session.redis_url, chosen, name, set_log_level(log_level))


def flower(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5555,
    basic_auth: Annotated[str, typer.Option(envvar="FLOWER_BASIC_AUTH", help="user:password; needed beyond this machine.")] = "",
) -> None:
    """Run Flower, the monitor of queues, workers and shards."""
    from api_roadbalancer.flower_guard import guard_flower
    from api_roadbalancer.session import open_session
    from balancer.configuration.environment import environment
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
