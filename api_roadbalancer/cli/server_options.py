"""`--server URL` and `--key-env NAME` of the commands that can work with a running server instead of a configuration."""

from typing import Annotated, Any

import typer

__all__ = ["SERVER_COMMANDS", "add_server_options"]

SERVER_COMMANDS = frozenset(
    ["submit", "status", "results", "list", "why", "pause", "resume", "change", "retry", "cancel", "endpoints", "usage", "keys"]
)
SERVER_VARIABLE = "ROADBALANCER_SERVER"


def add_server_options(command: Any) -> None:
    """Give a command the options, and each of its own commands."""
    options = typer.Typer(add_completion=False)
    options.command()(_options)
    for option in typer.main.get_command(options).params:
        if option.name in ("server", "key_env"):
            option.expose_value = False
            command.params.append(option)
    for part in getattr(command, "commands", {}).values():
        add_server_options(part)


def _named(context: typer.Context, key_env: str) -> str:
    context.meta["key_env"] = key_env or context.meta.get("key_env", "")
    return key_env


def _chosen(context: typer.Context, url: str) -> str:
    if url:
        from api_roadbalancer.remote import ServerAddress, choose_server

        choose_server(ServerAddress.of(url, context.meta.get("key_env", "")))
    return url


def _options(
    server: Annotated[
        str, typer.Option(metavar="URL", envvar=SERVER_VARIABLE, callback=_chosen, help="Work with the API there, by HTTP.")
    ] = "",
    key_env: Annotated[
        str,
        typer.Option(
            metavar="NAME", callback=_named, is_eager=True, help="The variable that has the key for it; ROADBALANCER_API_KEY."
        ),
    ] = "",
) -> None:
    """Carry the options."""
