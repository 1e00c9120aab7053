"""`usage`: shows requests, tokens and cost from the command line."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from api_roadbalancer.cli.common import wide_console, with_node, with_server
from api_roadbalancer.cli.processes import Config
from api_roadbalancer.cli.reconcile import show_reconciled
from api_roadbalancer.remote import chosen_server
from api_roadbalancer.remote.admin import remote_usage
from balancer.usage.query import DEFAULT_DAYS, GROUPS, UsageQuery, usage_query
from balancer.usage.report import UsageReport, UsageSum, usage_report
from jobs.cost.recorded import reconciled
from jobs.errors import InvalidRequest
from jobs.node import Node

__all__ = ["money", "usage", "usage_table"]

COUNTS = ("requests", "errors", "input", "cached", "output", "cost", "average", "p50", "p95")
WIDEST = 10_000
"""Columns (of characters); no table has more."""
UNNAMED = "-"
"""Stands for a key or a model that has no name."""


def usage(
    config: Config = None,
    first: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help=f"First day (UTC), YYYY-MM-DD; else the last {DEFAULT_DAYS} days.")
    ] = None,
    last: Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day (UTC), included; else today.")] = None,
    by: Annotated[str, typer.Option(help=f"Tell apart by: {', '.join(GROUPS)}; several by comma.")] = "day",
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Compare the account with the results of jobs and with budgets, by day and key.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, as the API's, instead of a table.")] = False,
) -> None:
    """Show requests, tokens, cost and latency of all processes, by day, provider, model, endpoint, key, source or tier.

    With --reconcile, exit code 1 if sums differ.
    """
    query = usage_query(first, last, by, datetime.now(UTC).date())
    if reconcile:
        if chosen_server():
            raise InvalidRequest("--reconcile compares what is in Redis: run it where the configuration is, without --server")
        days = with_node(config, lambda node: reconciled(node.redis, query.first, query.last))
        raise typer.Exit(show_reconciled(days, query, as_json))

    report, answer = _report(config, query)
    if as_json:
        print(answer or _as_json(report))
    elif report.rows:
        _print_whole(usage_table(report))
    else:
        print(f"nothing was used from {query.first} to {query.last}", file=sys.stderr)


def _report(config: Path | None, query: UsageQuery) -> tuple[UsageReport, str]:
    """Return what was used, and a server's own answer, "" without one."""
    if chosen_server():
        report, answer = with_server(lambda server: remote_usage(server, query))
        return report, json.dumps(answer, ensure_ascii=False)

    async def work(node: Node) -> UsageReport:
        return await usage_report(node.redis, query)

    return with_node(config, work), ""


def _as_json(report: UsageReport) -> str:
    from producer_api.system.usage import UsageList  # here, as it takes all of FastAPI along

    return UsageList.of(report).model_dump_json()


def usage_table(report: UsageReport) -> Table:
    """Draw a report: a line for each sum, and one for all of them. Tokens are counts, latencies seconds."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for group in report.query.by:
        table.add_column(group, no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*(_name(row.group[group]) for group in report.query.by), *_numbers(row))
    if len(report.rows) > 1:
        blanks = [""] * (len(report.query.by) - 1)
        table.add_row("total", *blanks, *_numbers(report.total), style="bold")
    return table


def money(cost: float | None, unpriced_requests: int) -> str:
    """Return a cost (USD) for people: unknown costs are counted apart."""
    if cost is None:
        return "unknown"
    # Four decimals, or as many as it takes to see something.
    shown = f"${cost:,.4f}" if cost >= 0.0001 or not cost else f"${cost:.9f}".rstrip("0")
    return f"≥ {shown}" if unpriced_requests else shown


def _print_whole(table: Table) -> None:
    """Print a table with nothing cut off, though a narrow terminal may break its lines: half a number is a wrong number."""
    console = wide_console()
    needed = Measurement.get(console, console.options.update(width=WIDEST), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _name(name: str) -> Text:
    # Names of models come from users: nothing in them may be taken for a command to the terminal.
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name) or UNNAMED)


def _numbers(row: UsageSum) -> list[str]:
    counts = (row.requests, row.errors, row.input_tokens, row.cached_tokens, row.output_tokens)
    latencies = (row.latency, row.latency_p50, row.latency_p95)
    return [
        *(f"{count:,}" for count in counts),
        money(row.cost, row.unpriced_requests),
        *("-" if seconds is None else f"{seconds:.2f} s" for seconds in latencies),
    ]
