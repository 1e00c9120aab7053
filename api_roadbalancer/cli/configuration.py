"""`config check`: validates a configuration, and prints its endpoints and the settings that are ignored."""

from typing import Annotated

import typer
from rich.table import Table

from api_roadbalancer.cli.common import wide_console
from api_roadbalancer.cli.processes import Config
from balancer.configuration import load_configuration
from balancer.endpoint import AutoConcurrency, Endpoint
from balancer.outcome import Usage
from balancer.usage.pricing import cost_of

__all__ = ["app", "check"]

app = typer.Typer(help="Check a configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _options() -> None:
    """Check a configuration."""


@app.command("check")
def check(
    config: Config = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 if there are warnings.")] = False,
) -> None:
    """Read the configuration as other commands do, and print its endpoints and warnings. Nothing is sent or written.

    Exit code 2 if it can't be used.
    """
    configuration = load_configuration(config)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("endpoint", "provider", "URL", "models", "at once", "price"):
        table.add_column(column)
    for endpoint in configuration.endpoints:
        models = ", ".join(endpoint.models) or "asked for"
        table.add_row(endpoint.name, endpoint.provider, endpoint.url, models, _at_once(endpoint), _price(endpoint))
    if configuration.endpoints:
        wide_console().print(table)
    else:
        print("no endpoint is configured; name some in a configuration file (--config) or in LLM_ENDPOINTS")
    print(f"\nstore {configuration.store} · Redis {'configured' if configuration.redis_url else 'started when it is needed'}")
    for note in configuration.notes:
        print(f"warning: {note}")
    if strict and configuration.notes:
        raise SystemExit(1)


def _at_once(endpoint: Endpoint) -> str:
    most = endpoint.max_concurrency
    return f"auto, {most.start} to {most.max}" if isinstance(most, AutoConcurrency) else str(most)


def _price(endpoint: Endpoint) -> str:
    models = list(endpoint.models.values()) or [""]
    known = sum(cost_of(Usage(1, 1), endpoint, model) is not None for model in models)
    return "known" if known == len(models) else "unknown" if not known else f"known for {known} of {len(models)} models"
