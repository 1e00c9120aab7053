"""The command line's entry: its options, and what an error looks like."""

import logging
import os
import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from api_roadbalancer.cli.command_group import CommandGroup, UsageError, one_line
from api_roadbalancer.processes.supervisor import end_with_parent
from api_roadbalancer.user_files.local_files import make_files_private

__all__ = ["app", "main"]

BAD_USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="roadbalancer",
    help="Bulk LLM generation over a fleet of endpoints. Start with: roadbalancer run IN.jsonl",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"roadbalancer {metadata.version('roadbalancer')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Bulk LLM generation over a fleet of endpoints. Start with: roadbalancer run IN.jsonl"""


def main() -> NoReturn:
    """Run a command; errors of the user are one line on stderr, with exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The commands print warnings about ignored settings themselves, once (see api_roadbalancer.processes.session).
    logging.getLogger("balancer.configuration.loading").setLevel(logging.ERROR)
    # httpx imports a command line of its own, with Rich's highlighting, where Rich is installed: a tenth of a second for nothing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    end_with_parent()
    make_files_private()
    # Arrow's own allocator keeps what it has had, which is a third of the memory of a run over a Parquet file.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    code = _run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own end: threads of the object store (Rust) that come for the GIL while it is
    # being taken down abort the process (CPython before 3.14 ends such threads with pthread_exit).
    os._exit(code)


def _run() -> int:
    """Run a command and return its exit code."""
    try:
        ended = app(standalone_mode=False)
    except SystemExit as exc:
        return _code(exc)
    except UsageError as exc:
        return _print_error(one_line(exc))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as exc:
        message = _message(exc)
        if message is None:
            raise
        return _print_error(message)
    return ended if isinstance(ended, int) else 0


def _message(error: Exception) -> str | None:
    """Return what to print for an error of the user or of a service; None for a defect, which shows its traceback."""
    from redis.exceptions import RedisError

    from balancer.errors import BalancerError
    from balancer.state.redis_connection import without_password
    from jobs.errors import JobError
    from jobs.storage.object_store import ObjectStoreError, store_problem

    if isinstance(error, ObjectStoreError):
        return f"the files can't be written or read: {store_problem(error)}"
    if isinstance(error, BalancerError | JobError | OSError | ValueError):
        return str(error)
    return f"Redis can't be used: {without_password(str(error))}" if isinstance(error, RedisError) else None


def _code(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    return _print_error(str(ending.code))


def _print_error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_USAGE
