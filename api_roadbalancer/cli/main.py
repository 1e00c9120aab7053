"""The command line's entry: the commands, and what an error looks like."""

import logging
import os
import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer
from redis.exceptions import RedisError

from api_roadbalancer.cli import configuration, estimate, jobs, keys, processes, results, run, up, usage
from api_roadbalancer.cli.grouped_help import GroupedHelp, UsageError, one_line
from api_roadbalancer.local_files import make_files_private
from api_roadbalancer.supervisor import end_with_parent
from balancer.errors import BalancerError
from balancer.state.redis_connection import without_password
from jobs.errors import JobError
from jobs.storage.object_store import ObjectStoreError, store_problem

__all__ = ["app", "main"]

BAD_USAGE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="roadbalancer",
    help="Bulk LLM generation over a fleet of endpoints. Start with: roadbalancer run IN.jsonl",
    cls=GroupedHelp,
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


app.command("run")(run.run)
app.command("up")(up.up)
app.command("api")(processes.api)
app.command("worker")(processes.worker)
app.command("flower")(processes.flower)
app.command("submit")(jobs.submit)
app.command("status")(jobs.status)
app.command("results")(results.results)
app.command("resume")(jobs.resume)
app.command("retry")(jobs.retry)
app.command("cancel")(jobs.cancel)
app.command("list")(jobs.list_jobs)
app.command("estimate")(estimate.estimate)
app.command("verify")(jobs.verify)
app.command("endpoints")(jobs.endpoints)
app.command("usage")(usage.usage)
app.add_typer(keys.app, name="keys")
app.add_typer(configuration.app, name="config")
app.command("mock")(processes.mock)


def main() -> NoReturn:
    """Run a command; errors of the user are one line on stderr, with exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # The commands print warnings about ignored settings themselves, once (see api_roadbalancer.session).
    logging.getLogger("balancer.configuration.loading").setLevel(logging.ERROR)
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
    except ObjectStoreError as exc:
        return _print_error(f"the files can't be written or read: {store_problem(exc)}")
    except (BalancerError, JobError, OSError, ValueError) as exc:
        return _print_error(str(exc))
    except RedisError as exc:
        return _print_error(f"Redis can't be used: {without_password(str(exc))}")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return ended if isinstance(ended, int) else 0


def _code(ending: SystemExit) -> int:
    if ending.code is None or isinstance(ending.code, int):
        return ending.code or 0
    return _print_error(str(ending.code))


def _print_error(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_USAGE
