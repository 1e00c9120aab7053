"""The commands in groups, each imported when it is used, and errors of usage in one line."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from api_roadbalancer.cli.server_options import SERVER_COMMANDS, add_server_options

__all__ = ["CommandGroup", "UsageError", "one_line"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for an unknown command or option, or a value that does not fit."""

GROUPS = {
    "A file of requests": {"run": "run", "estimate": "estimate"},
    "Jobs of a service": {
        "submit": "jobs",
        "status": "jobs",
        "results": "results",
        "list": "jobs.list_jobs",
        "why": "jobs",
        "pause": "jobs",
        "resume": "jobs",
        "change": "jobs",
        "retry": "jobs",
        "cancel": "jobs",
        "verify": "jobs",
    },
    "Processes": {"up": "up", "api": "api", "worker": "processes", "flower": "processes", "mock": "processes"},
    "The fleet": {"config": "configuration.app", "endpoints": "fleet.app", "usage": "usage", "keys": "keys.app"},
}
"""Command -> its module in `api_roadbalancer.cli`, with the function or the application if it has another name."""
_PLACES = {name: place for commands in GROUPS.values() for name, place in commands.items()}


class CommandGroup(TyperGroup):
    """Imports a command when it is asked for: all of them take half a second, which each process would pay at its start."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the help."""
        return list(_PLACES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None for an unknown name."""
        if cmd_name not in _PLACES:
            return None
        module, _, attribute = _PLACES[cmd_name].partition(".")
        found = getattr(import_module(f"api_roadbalancer.cli.{module}"), attribute or cmd_name)
        if not isinstance(found, typer.Typer):
            function, found = found, typer.Typer(add_completion=False, rich_markup_mode=None)
            found.command(cmd_name)(function)
        command = typer.main.get_command(found)
        command.name = cmd_name
        if cmd_name in SERVER_COMMANDS:
            add_server_options(command)
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups."""
        width = formatter.width - 6 - max(map(len, _PLACES))
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.get_command(ctx, name).get_short_help_str(width)) for name in names])


def one_line(error: Any) -> str:
    """Return what is wrong with a command, what was meant, and where the options are listed."""
    message = " ".join(str(error.format_message()).split())
    if possibilities := getattr(error, "possibilities", None):
        message = f"there is no option {error.option_name}; did you mean {' or '.join(sorted(possibilities))}?"
    path = error.ctx.command_path if error.ctx is not None else "roadbalancer"
    return f"{message.rstrip('.')} ({path} --help lists what there is)"
