"""The command line's entry: the commands, and what an error looks like."""

import logging
import sys

import typer
from redis.exceptions import RedisError

from api_roadbalancer.cli import jobs, oneshot, parts, together
from balancer.errors import BalancerError
from balancer.redis_connection import without_password
from jobs.errors import JobError
from jobs.objects import ObjectStoreError

__all__ = ["app", "main"]

BAD_USAGE = 2

app = typer.Typer(
    name="roadbalancer",
    help="Bulk LLM generation over a fleet of endpoints. Start with: roadbalancer run IN.jsonl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(oneshot.run)
app.command("up")(together.up)
app.command("api")(parts.api)
app.command("worker")(parts.worker)
app.command("flower")(parts.flower)
app.command("submit")(jobs.submit)
app.command("status")(jobs.status)
app.command("results")(jobs.results)
app.command("cancel")(jobs.cancel)
app.command("list")(jobs.list_jobs)
app.command("verify")(jobs.verify)
app.command("endpoints")(jobs.endpoints)
app.command("mock")(parts.mock)


def main() -> None:
    """Run a command; what the user can mend is told in one line, with exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (BalancerError, JobError, ObjectStoreError, OSError, ValueError) as exc:
        _fail(str(exc))
    except RedisError as exc:
        _fail(f"Redis can't be used: {without_password(str(exc))}")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(BAD_USAGE)
