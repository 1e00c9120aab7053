"""`endpoints`: the fleet from the command line: what it is like, and changes of it while it runs."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from api_roadbalancer.cli.common import wide_console, with_node, with_server
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.progress import fleet_table, limited_by
from api_roadbalancer.remote import chosen_server
from api_roadbalancer.remote.admin import RemoteFleet
from jobs.fleet.changes import FleetChanges
from jobs.monitoring.overview import EndpointState, endpoint_states

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None, help="Show the fleet, or change it while it runs.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint's name.")]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Show the fleet: health, in flight, queue, latency, errors; or change it. Processes follow a change within two seconds."""
    context.obj = config
    if context.invoked_subcommand is not None:
        return

    def show_states(views: list[EndpointState]) -> None:
        if not views and not as_json:
            print("no endpoint is configured; name some in a configuration file (--config) or in LLM_ENDPOINTS", file=sys.stderr)
            return
        if as_json:
            print(json.dumps([_endpoint_dict(view) for view in views], ensure_ascii=False))
        else:
            console = wide_console()
            console.print(fleet_table(views, width=console.width))

    if chosen_server():
        show_states(with_server(lambda server: RemoteFleet(server).states()))
    else:
        show_states(with_node(config, endpoint_states, creates=True))


@app.command()
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Its address, such as http://gpu5:8000/v1.")],
    name: Annotated[str, typer.Option(help="Its name; else its host and port.")] = "",
    models: Annotated[str, typer.Option(help="The models that it serves, by comma; else those that it lists.")] = "",
    weight: Annotated[float | None, typer.Option(help="Its share of the work, beside the others' weights.")] = None,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", metavar="NAME", help="The variable that has its key, where the processes run.")
    ] = "",
    more: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another setting of its entry in the file.")
    ] = None,
    config: Config = None,
) -> None:
    """Add an endpoint to the fleet."""
    settings: dict[str, Any] = {"url": url}
    if name:
        settings["name"] = name
    if models:
        settings["models"] = [each.strip() for each in models.split(",") if each.strip()]
    if weight is not None:
        settings["weight"] = weight
    if api_key_env:
        settings["api_key"] = f"${{{api_key_env}}}"
    settings |= _pairs(more or [])

    async def work(changes: FleetChanges | RemoteFleet) -> str:
        return (await changes.add(settings)).name

    print(f"{_changed(config or context.obj, work)} is added")


@app.command("set")
def change(
    context: typer.Context,
    name: Name,
    settings: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="Settings, as in the file: weight=2.")],
    config: Config = None,
) -> None:
    """Change settings of an endpoint: weight, max_concurrency, models, price and whatever else its entry in the file may have."""
    pairs = _pairs(settings)
    _changed(config or context.obj, lambda changes: changes.change(name, pairs))
    print(f"{name}: {', '.join(pairs)} changed")


@app.command()
def drain(
    context: typer.Context,
    name: Name,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it when nothing is in flight there.")] = False,
    config: Config = None,
) -> None:
    """Send an endpoint nothing more; what is in flight there may end, and other lines go elsewhere."""
    _changed(config or context.obj, lambda changes: changes.drain(name, remove))
    print(f"{name} is drained{', and removed then' if remove else ''}")


@app.command()
def undrain(context: typer.Context, name: Name, config: Config = None) -> None:
    """Use a drained endpoint again."""
    _changed(config or context.obj, lambda changes: changes.use_again(name))
    print(f"{name} is used again")


@app.command()
def remove(context: typer.Context, name: Name, config: Config = None) -> None:
    """Use an endpoint no more. Requests in flight there end as they do."""
    _changed(config or context.obj, lambda changes: changes.remove(name))
    print(f"{name} is removed")


def _changed(config: Path | None, work: Callable[[FleetChanges | RemoteFleet], Awaitable[Any]]) -> Any:
    if chosen_server():
        return with_server(lambda server: work(RemoteFleet(server)))
    return with_node(config, lambda node: work(FleetChanges(node.redis, node.configuration.endpoints)), creates=True)


def _pairs(texts: list[str]) -> dict[str, Any]:
    """Read settings, whose values are YAML: `weight=2`, `models=[a, b]`, `price={input: 1, output: 2}`. Raises ValueError."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"settings are KEY=VALUE, such as weight=2 (got {text!r})")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as exc:
            raise ValueError(f"{key}: the value is not YAML: {exc}") from None
    return found


def _endpoint_dict(endpoint: EndpointState) -> dict[str, object]:
    health = endpoint.health
    return {
        "name": endpoint.name,
        "circuit": health.circuit,
        "draining": endpoint.draining,
        "in_flight": endpoint.in_flight,
        "max_concurrency": endpoint.limit.value,
        "limited_by": limited_by(endpoint),
        "latency": health.latency,
        "failed": health.failed,
        "queued": endpoint.queued,
        "last_error": health.last_error,
    }
