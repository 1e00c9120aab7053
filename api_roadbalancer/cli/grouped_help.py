"""The help of the command line, with its commands in groups, and errors of usage in one line."""

from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["GroupedHelp", "UsageError", "one_line"]

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for an unknown command or option, or a value that does not fit."""

GROUPS = {
    "A file of requests": ("run", "estimate"),
    "Jobs of a service": ("submit", "status", "results", "list", "resume", "retry", "cancel", "verify"),
    "Processes": ("up", "api", "worker", "flower", "mock"),
    "The fleet": ("config", "endpoints", "usage", "keys"),
}


class GroupedHelp(TyperGroup):
    """Lists the commands in groups; one that is in none stands under *More*."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups."""
        commands = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name)) is not None}
        grouped = {name for names in GROUPS.values() for name in names}
        groups = {**GROUPS, "More": tuple(name for name in commands if name not in grouped)}
        width = formatter.width - 6 - max(map(len, commands))
        for title, names in groups.items():
            found = [(name, commands[name].get_short_help_str(width)) for name in names if name in commands]
            if found:
                with formatter.section(title):
                    formatter.write_dl(found)


def one_line(error: Any) -> str:
    """Return what is wrong with a command, what was meant, and where the options are listed."""
    message = " ".join(str(error.format_message()).split())
    if possibilities := getattr(error, "possibilities", None):
        message = f"there is no option {error.option_name}; did you mean {' or '.join(sorted(possibilities))}?"
    path = error.ctx.command_path if error.ctx is not None else "roadbalancer"
    return f"{message.rstrip('.')} ({path} --help lists what there is)"
