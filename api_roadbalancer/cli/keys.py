"""`keys`: virtual API keys from the command line. They are stored in Redis, where every process looks them up."""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from api_roadbalancer.cli.common import wide_console, with_node, with_server
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.remote import chosen_server
from api_roadbalancer.remote.admin import RemoteKeys
from jobs.access import KeyRecord, KeyStore, Limits
from jobs.access.store import KeyOrder
from jobs.upkeep.erasure import Erased, erase_key

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, list and revoke API keys of this server.")

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
T = TypeVar("T")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is; no two keys in use share a name.")],
    config: Config = None,
    expires: Annotated[str, typer.Option(help="Lifetime: a number and s, m, h, d or w, such as 30d. None: it does not.")] = "",
    models: Annotated[str, typer.Option(help="Only these models: names and patterns (gpt-*) by comma.")] = "",
    rpm: Annotated[int | None, typer.Option(help="Requests per minute that generate.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens per minute.")] = None,
    http_rpm: Annotated[int | None, typer.Option(help="HTTP requests per minute of every kind.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    budget_day: Annotated[float | None, typer.Option(help="USD per day (UTC).")] = None,
    budget_month: Annotated[float | None, typer.Option(help="USD per month (UTC).")] = None,
    max_priority: Annotated[int | None, typer.Option(help="Highest priority of its jobs.")] = None,
    max_jobs: Annotated[int | None, typer.Option(help="Unfinished jobs at once.")] = None,
    max_files: Annotated[int | None, typer.Option(help="Files that it may store.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes that its files may have in all.")] = None,
    retention: Annotated[str, typer.Option(help="Keep its files, ended jobs and responses so long at most, such as 7d.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="Sees everybody's files and jobs, the fleet and the metrics.")] = False,
) -> None:
    """Make a key and print its secret, which is shown only once."""
    allowed = tuple(dict.fromkeys(part.strip() for part in models.split(",") if part.strip()))
    kept = _seconds(retention, "--retention") if retention else None
    limits = Limits(rpm, tpm, parallel, budget_day, budget_month, max_priority, max_jobs, max_files, max_bytes, kept, http_rpm)
    order = KeyOrder(name, _seconds(expires, "--expires") if expires else None, allowed, limits, admin)
    record, secret = _with_store(config, lambda store: store.create(order))
    print(f"{record.id} ({record.name}); the secret is shown this once only:", file=sys.stderr)
    print(secret)


@app.command("list")
def list_keys(config: Config = None) -> None:
    """List all keys, oldest first. Their secrets are not shown."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "name", "state", "created", "last used", "expires", "models", "limits"):
        table.add_column(column, no_wrap=True)
    now = time.time()
    for record in _with_store(config, lambda store: store.all()):
        times = (_time(record.created_at), _or_never(record.last_used_at), _or_never(record.expires_at))
        cells = (record.id, record.name, _state(record, now), *times, ", ".join(record.models) or "all", _limits(record))
        # Names come from people: nothing in them is markup.
        table.add_row(*map(Text, cells))
    wide_console().print(table)


@app.command()
def rotate(
    wanted: Annotated[str, typer.Argument(metavar="ID|NAME")],
    config: Config = None,
    overlap: Annotated[str, typer.Option(help="How long the old secret goes on: a number and s, m, h, d or w.")] = "1d",
) -> None:
    """Give a key another secret, which is printed once; the old one goes on for a while."""
    record, secret = _with_store(config, lambda store: store.rotate(wanted, _seconds(overlap, "--overlap")))
    print(f"{record.id} ({record.name}); the old secret ends in {overlap}, the new one is shown this once only:", file=sys.stderr)
    print(secret)


@app.command()
def limit(
    wanted: Annotated[str, typer.Argument(metavar="ID|NAME")],
    config: Config = None,
    models: Annotated[str | None, typer.Option(help="Only these models: names and patterns (gpt-*) by comma, or `all`.")] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests per minute that generate; 0 lifts it, as for the others.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens per minute.")] = None,
    http_rpm: Annotated[int | None, typer.Option(help="HTTP requests per minute of every kind.")] = None,
    parallel: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    budget_day: Annotated[float | None, typer.Option(help="USD per day (UTC).")] = None,
    budget_month: Annotated[float | None, typer.Option(help="USD per month (UTC).")] = None,
    max_jobs: Annotated[int | None, typer.Option(help="Unfinished jobs at once.")] = None,
    max_files: Annotated[int | None, typer.Option(help="Files that it may store.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes that its files may have in all.")] = None,
    retention: Annotated[str, typer.Option(help="Keep its data so long at most, such as 7d; 0 lifts it.")] = "",
) -> None:
    """Change what a key may do; its secret stays. What is not given stays as it is."""
    names = None if models is None else [] if models == "all" else [part.strip() for part in models.split(",") if part.strip()]
    given: dict[str, Any] = {"rpm": rpm, "tpm": tpm, "http_rpm": http_rpm, "parallel": parallel, "jobs": max_jobs}
    given |= {"files": max_files, "stored_bytes": max_bytes}
    given |= {"retention": (0 if retention == "0" else _seconds(retention, "--retention")) if retention else None}
    given |= {"budget_day": budget_day, "budget_month": budget_month}

    async def work(store: KeyStore | RemoteKeys) -> KeyRecord:
        record = await store.in_use(wanted)
        limits = replace(record.limits, **{name: value or None for name, value in given.items() if value is not None})
        return await store.change(record.id, limits, names)

    record = _with_store(config, work)
    print(f"{record.id} ({record.name}): {_limits(record)}; models: {', '.join(record.models) or 'all'}")


@app.command()
def revoke(wanted: Annotated[str, typer.Argument(metavar="ID|NAME")], config: Config = None) -> None:
    """Revoke a key: every process refuses it within two seconds, and its jobs pause. What belongs to it stays; admins see it."""
    if chosen_server():
        record = with_server(lambda server: RemoteKeys(server).revoke(wanted))
    else:
        record = with_node(config, lambda node: node.service.revoke_key(wanted))
    print(f"{record.id} ({record.name}) revoked")


@app.command()
def erase(
    wanted: Annotated[str, typer.Argument(metavar="ID|NAME")],
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Cancel a key's unfinished jobs; delete its files, jobs, responses and kept answers. The key itself stays: see revoke."""
    if not yes:
        question = f"Delete all files, jobs, responses and answers of {wanted}? They can't be brought back"
        typer.confirm(question, abort=True, err=True)

    async def work(erase_once: Callable[[], Awaitable[Erased]]) -> Erased:
        erased = await erase_once()
        while erased.unfinished:  # workers hand back what they have within ten seconds
            print(
                f"{erased.unfinished} cancelled jobs are still ending; Ctrl-C leaves the rest for another time", file=sys.stderr
            )
            await asyncio.sleep(1.0)
            erased = erased + await erase_once()
        return erased

    if chosen_server():
        erased = with_server(lambda server: work(lambda: RemoteKeys(server).erase(wanted)))
    else:
        erased = with_node(config, lambda node: work(lambda: erase_key(node, wanted)))
    print(f"deleted {erased.jobs} jobs, {erased.files} files, {erased.responses} responses, {erased.answers} kept answers")


def _with_store(config: Path | None, work: Callable[[KeyStore | RemoteKeys], Awaitable[T]]) -> T:
    if chosen_server():
        return with_server(lambda server: work(RemoteKeys(server)))
    return with_node(config, lambda node: work(KeyStore(node.redis)), creates=True)


def _seconds(text: str, option: str) -> int:
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{option} must be a number and s, m, h, d or w, such as 30d (got {text!r})")
    return int(match[1]) * _UNITS[match[2]]


def _state(record: KeyRecord, now: float) -> str:
    if record.revoked:
        return "revoked"
    if not record.lives(now):
        return "expired"
    return "admin" if record.admin else "in use"


def _limits(record: KeyRecord) -> str:
    limits = record.limits
    parts = (
        (limits.rpm, "requests/min"),
        (limits.tpm, "tokens/min"),
        (limits.http_rpm, "HTTP requests/min"),
        (limits.parallel, "at once"),
        (limits.budget_day, "USD/day"),
        (limits.budget_month, "USD/month"),
        (limits.priority, "highest priority"),
        (limits.jobs, "jobs"),
        (limits.files, "files"),
        (limits.stored_bytes, "bytes"),
    )
    shown = [f"{value:,} {unit}" for value, unit in parts if value is not None]
    if limits.retention is not None:
        shown.append(f"data kept for {limits.retention / 86400:.3g} days")
    return ", ".join(shown) or "none"


def _or_never(seconds: int | None) -> str:
    return "never" if seconds is None else _time(seconds)


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
