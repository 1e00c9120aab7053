"""`usage --reconcile`: the account of requests beside the results of jobs and the budgets of keys."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

import orjson
from rich.table import Table

from api_roadbalancer.cli.common import wide_console
from balancer.usage.query import UsageQuery
from jobs.cost.recorded import DayOfAKey, Sums

__all__ = ["show_reconciled"]

WHY = """\
More by requests than by results: answers that are no result (a hedge that lost, a line that was sent again after a crash), and
requests in flight. Less: a process was killed before it had reported the last half second. Budgets are charged for results."""


def show_reconciled(days: Sequence[DayOfAKey], query: UsageQuery, as_json: bool) -> int:
    """Print the days of keys whose sums differ, all of them as JSON. Returns 1 if there are any, else 0."""
    different = [each for each in days if each.differs]
    if as_json:
        sys.stdout.write(orjson.dumps([{**asdict(each), "differs": each.differs} for each in days]).decode() + "\n")
    elif not days:
        print(f"nothing was used from {query.first} to {query.last}", file=sys.stderr)
    elif not different:
        print(f"all sums agree, of {len(days):,} days of keys from {query.first} to {query.last}")
    else:
        console = wide_console()
        console.print(_table(different))
        agree = len(days) - len(different)
        console.print(f"\n{agree:,} further days of keys agree." if agree else "", highlight=False)
        console.print(WHY, highlight=False, soft_wrap=True)
    return int(bool(different))


def _table(days: Sequence[DayOfAKey]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("day", "key", "of jobs", "input", "output", "cost", "all requests", "budget"):
        table.add_column(name, justify="left" if name in ("day", "key", "of jobs") else "right", no_wrap=True)
    for each in days:
        requests, results = each.requests, each.results
        budget = "-" if each.spent is None else _cost(each.spent)
        table.add_row(str(each.day), each.key or "-", "requests", *_sums(requests), _cost(each.everything), budget)
        table.add_row("", "", "results", *_sums(results), "", "")
        counts = (requests.prompt - results.prompt, requests.completion - results.completion)
        beyond = "" if each.spent is None else _more(each.everything - each.spent)
        cost = _more(requests.cost - results.cost)
        table.add_row("", "", "difference", *(f"{count:+,}" for count in counts), cost, "", beyond)
    return table


def _cost(cost: float) -> str:
    return f"${cost:,.6f}"


def _more(cost: float) -> str:
    return f"{'-' if cost < 0 else '+'}{_cost(abs(cost))}"


def _sums(sums: Sums) -> tuple[str, ...]:
    return (f"{sums.prompt:,}", f"{sums.completion:,}", _cost(sums.cost))
