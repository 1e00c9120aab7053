"""`up`: runs Redis, workers, API and Flower in the foreground."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from api_roadbalancer.bulk.run import default_workers, worker_child
from api_roadbalancer.cli.children import Children
from api_roadbalancer.cli.processes import Config, LogLevel, Port, Watch, check_port, start_logging
from api_roadbalancer.processes.session import Session, open_session
from api_roadbalancer.processes.supervisor import Child
from balancer.configuration.environment import environment
from jobs.access.exposure import is_loopback, refuse_exposure

__all__ = ["up"]


def up(
    config: Config = None,
    port: Port = 4000,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; one for each core (at most four).")] = None,
    flower_port: Annotated[int, typer.Option(help="Port of Flower; 0 for none.")] = 5555,
    host: Annotated[str, typer.Option(help="Address that API and Flower listen on.")] = "127.0.0.1",
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without any API key.")] = False,
    watch: Watch = False,
    log_level: LogLevel = "",
) -> None:
    """Run Redis (if none is configured), workers, the API and Flower in the foreground. SIGTERM or Ctrl-C stops them."""
    console = Console(stderr=True)
    # Without a password, Flower listens on this machine only, even if the API does not.
    flower_host = host if is_loopback(host) or environment().get("FLOWER_BASIC_AUTH") else "127.0.0.1"
    check_port(host, port)
    check_port(flower_host, flower_port, "--flower-port")
    children = Children()
    with open_session(config) as session, children:
        level = start_logging(session, log_level, "WARNING")
        asyncio.run(refuse_exposure(session.configuration, session.redis_url, host, insecure))
        simulated = session.configuration.is_simulated
        session.start_simulations(children)
        settings = ["--config", str(session.settings_file())]
        for worker in range(1, (workers or default_workers()) + 1):
            children.start(worker_child(session, worker, level))
        arguments = ["api", *settings, "--host", host, "--port", str(port), *(["--insecure"] if insecure else [])]
        arguments += ["--log-level", level]
        children.start(Child("api", arguments, takes_hangups=True))
        if flower_port:
            arguments = ["flower", *settings, "--host", flower_host, "--port", str(flower_port)]
            children.start(Child("flower", arguments, session.run_folder / "flower.log"))
        flower = f"{flower_host}:{flower_port}" if flower_port else ""
        _say_hello(console, session, simulated, f"{host}:{port}", flower, len(children.children))
        children.wait(session, "" if simulated else session.configuration.source, watch)
        console.print(
            "stopping: lines in flight may finish, the rest is handed back (10 s at most); Ctrl-C once more ends all at once"
        )


def _say_hello(console: Console, session: Session, simulated: bool, api: str, flower: str, processes: int) -> None:
    if simulated:
        console.print("[bold yellow]No endpoint is configured: a SIMULATED one answers, with invented text.[/]")
    names = ", ".join(endpoint.name for endpoint in session.configuration.endpoints)
    console.print(f"endpoints  {names}", highlight=False)
    console.print(f"API        http://{api}/v1", highlight=False)
    console.print(f"console    http://{api}/", highlight=False)
    console.print(f"docs       http://{api}/docs", highlight=False)
    if flower:
        console.print(f"Flower     http://{flower}", highlight=False)
    console.print(f"files      {session.configuration.store}   logs {session.run_folder}", highlight=False)
    console.print(f"{processes} processes; Ctrl-C stops them", highlight=False)
