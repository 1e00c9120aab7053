"""A run of benchmarks as tables for people and as JSON for programs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from bench.results import Bound, Outcome, Result, Target

__all__ = ["Run", "as_json", "as_markdown", "from_json", "print_tables"]

HEADINGS = ("figure", "measured", "spread", "ratio", "target", "met", "note")
RIGHT = ("measured", "spread", "ratio", "target")


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what was asked for, on which machine, and what came of it."""

    started_at: str
    quick: bool
    rounds: int
    machine: dict[str, Any]
    outcomes: tuple[Outcome, ...]


def as_json(run: Run) -> bytes:
    """Return the run as one JSON object, which `from_json` reads."""
    return orjson.dumps(asdict(run), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(content: bytes) -> Run:
    """Read a run again. Raises ValueError or KeyError for what isn't one."""
    fields = orjson.loads(content)
    fields["outcomes"] = tuple(_outcome(entry) for entry in fields["outcomes"])
    return Run(**fields)


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(**fields | {"results": tuple(_result(entry) for entry in fields["results"])})


def _result(fields: dict[str, Any]) -> Result:
    target = fields["target"] and Target(Bound(fields["target"]["bound"]), fields["target"]["value"])
    return Result(**fields | {"target": target, "values": tuple(fields["values"])})


def print_tables(run: Run, console: Console) -> None:
    """Print one table for each benchmark."""
    for outcome in run.outcomes:
        title = f"[bold]{outcome.benchmark}[/]: {outcome.question} ({outcome.seconds:.0f} s)"
        table = Table(title=title, title_justify="left", title_style="")
        for heading in HEADINGS:
            table.add_column(heading, justify="right" if heading in RIGHT else "left", overflow="fold")
        for result in outcome.results:
            table.add_row(*cells(result), style="red" if result.met is False else None)
        console.print(table)
        if outcome.error:
            console.print(f"[bold red]failed:[/] {outcome.error}", highlight=False)
    console.print(_conditions(run), highlight=False, soft_wrap=True)


def as_markdown(run: Run) -> str:
    """Return the tables as Markdown, ready for docs/benchmarks.md."""
    return "\n".join(_markdown_lines(run)) + "\n"


def _markdown_lines(run: Run) -> Iterator[str]:
    yield _conditions(run)
    for outcome in run.outcomes:
        yield f"\n**{outcome.benchmark}**: {outcome.question}\n"
        if outcome.results:
            yield f"| {' | '.join(HEADINGS)} |"
            yield f"|{'|'.join('--:' if heading in RIGHT else '---' for heading in HEADINGS)}|"
        for result in outcome.results:
            yield f"| {' | '.join(cell.replace('|', '/') for cell in cells(result))} |"
        if outcome.error:
            yield f"\nFailed: {outcome.error}"


def _conditions(run: Run) -> str:
    machine = run.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rounds = "one round" if run.rounds == 1 else f"median of {run.rounds} rounds"
    return (
        f"{run.started_at}, {'QUICK sizes (no figures to quote), ' if run.quick else ''}{rounds}, {machine['cores']} cores of"
        f" {machine['cpu']}, {machine['memory_gb']} GB, load {machine['load_before']:.2f} before, {machine['system']},"
        f" Python {machine['python']}, commit {machine['commit']}; {versions}."
    )


def cells(result: Result) -> tuple[str, ...]:
    """Return the texts of a table's row."""
    measured = "—" if result.value is None else f"{number(result.value)} {result.unit}"
    spread = f"{number(min(result.values))}–{number(max(result.values))}" if len(result.values) > 1 else ""
    ratio = "" if result.ratio is None else f"{number(result.ratio)} ×"
    unit = "×" if result.against else result.unit
    target = f"{result.target.bound} {number(result.target.value)} {unit}" if result.target else ""
    met = "" if result.met is None else "yes" if result.met else "no"
    return result.name, measured, spread, ratio, target, met, result.note


def number(value: float) -> str:
    """Write a number with about three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{round(value, 4):.3g}"
