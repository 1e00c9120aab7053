"""`estimate`: estimates the tokens and the cost of an input. Nothing is sent."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from api_roadbalancer.cli.common import wide_console
from api_roadbalancer.cli.processes import Config
from balancer.configuration import Configuration, load_configuration
from balancer.configuration.validation import require_endpoints
from balancer.endpoint import Endpoint
from balancer.routing import BalancingStrategy
from balancer.usage.price_class import has_flex
from jobs.cost.estimate import Estimator, TokenCount, seconds_of, sum_of
from jobs.errors import InvalidRequest
from jobs.intake.checker import Form, Intake, IntakeResult

__all__ = ["estimate"]

CHUNK = 1024 * 1024
"""Bytes of the input that are read at a time."""
SHOWN_ERRORS = 20


def estimate(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Requests: OpenAI batch lines or shorthand, one a line.")],
    config: Config = None,
    output_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer whose request sets no max_tokens.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Say how many tokens an input will take and what that costs, by endpoint and provider. Nothing is sent.

    Exit code 2 if the input can't be used.
    """
    if not source.is_file():
        raise InvalidRequest(f"there is no file {source}")
    configuration = load_configuration(config)
    where = str(config) if config else "environment"
    require_endpoints(configuration.endpoints, where, "endpoints" if config else "LLM_ENDPOINTS")
    found = _read(source, configuration, output_tokens)
    if as_json:
        print(json.dumps(_as_dict(found), ensure_ascii=False))
    else:
        _show(source, found)


@dataclass(frozen=True, slots=True)
class _Class:
    """A class of processing: the cost (USD), without the `unpriced` lines, and the time: seconds if they can be estimated."""

    name: str
    cost: float
    unpriced: float
    seconds: float | None
    time: str


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} seconds"


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of an input."""

    endpoints: Sequence[Endpoint]
    tallies: Mapping[str, TokenCount]
    assumptions: Mapping[str, str]

    @property
    def providers(self) -> dict[str, TokenCount]:
        names = dict.fromkeys(endpoint.provider for endpoint in self.endpoints)
        return {name: sum_of(self.tallies[e.name] for e in self.endpoints if e.provider == name) for name in names}

    @property
    def has_flex(self) -> bool:
        """Whether some endpoint has flex processing."""
        return any(has_flex(endpoint) for endpoint in self.endpoints)

    @property
    def classes(self) -> list[_Class]:
        """What the input costs in each class of processing that its endpoints have, and how long that takes."""
        total = self.total
        seconds = max((seconds_of(self.tallies[e.name], e) for e in self.endpoints), default=0.0)
        found = [_Class("as configured", total.cost, total.unpriced, seconds, f"about {_duration(seconds)}")]
        if self.has_flex:
            found.append(_Class("flex", total.flex_cost, total.unpriced, None, "a request may take 15 minutes"))
        if total.lines and total.batch_lines >= total.lines * (1 - 1e-9):
            days = max(self._days_in_batches(endpoint) for endpoint in self.endpoints)
            money = (total.batch_cost, total.unpriced_in_batches, None)
            found.append(_Class("batch", *money, f"at most {days * 24} hours; often much less"))
            found.append(_Class("cheapest", *money, "in the job's window; what would be late costs the usual price"))
        return found

    def _days_in_batches(self, endpoint: Endpoint) -> int:
        """Return how many batches have to follow each other for want of room in the provider's queue."""
        tally = self.tallies[endpoint.name]
        if not endpoint.queued_tokens or not tally.lines:
            return 1
        return max(1, math.ceil(tally.batch_lines * tally.prompt / tally.lines / endpoint.queued_tokens))

    @property
    def total(self) -> TokenCount:
        return sum_of(self.tallies.values())


def _read(source: Path, configuration: Configuration, output_tokens: int) -> _Found:
    """Check and estimate a file as it is read. Raises InvalidRequest with what is wrong in which line."""
    estimator = Estimator(configuration.endpoints, configuration.strategy, output_tokens, configuration.routes)
    unserved: set[str] = set()
    with Intake(Form.SHORTHAND) as intake, source.open("rb") as file:
        while chunk := file.read(CHUNK):
            _take(intake.feed(chunk), estimator, unserved)
        _take(intake.finish(), estimator, unserved)
        result = intake.result()
    problems = [bad.message for bad in result.errors] + _not_served(result, unserved)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems[:SHOWN_ERRORS])
        more = f"\n  and {len(problems) - SHOWN_ERRORS} more" if len(problems) > SHOWN_ERRORS else ""
        raise InvalidRequest(f"{source} can't be used:\n{listed}{more}")
    return _Found(configuration.endpoints, estimator.by_endpoint, _assumptions(configuration, output_tokens))


def _take(lines: bytes, estimator: Estimator, unserved: set[str]) -> None:
    for line in lines.split(b"\n"):
        if line:
            body = orjson.loads(line)["body"]
            if not estimator.add(body) and len(unserved) < SHOWN_ERRORS:
                unserved.add(body.get("model") or "")


def _not_served(result: IntakeResult, unserved: set[str]) -> list[str]:
    wanted = sorted((line, model) for model, line in result.models.items() if model in unserved)
    return [f"line {line}: no endpoint serves the model {model!r}" for line, model in wanted]


def _assumptions(configuration: Configuration, output_tokens: int) -> dict[str, str]:
    weighted = configuration.strategy is BalancingStrategy.WEIGHTED
    how = "by weight" if weighted else f"evenly (strategy {configuration.strategy})"
    found = {
        "input tokens": "by the words and characters of each language; 1,000 for an image or a document",
        "output tokens": f"each request's max_tokens where it sets one, else {output_tokens}; at most the endpoint's max_tokens",
        "spread": f"{how} over the endpoints that serve the model, lowest priority number first; none of them fails",
        "time": "a second to the first token, then 50 tokens a second; nothing is known of the endpoints yet",
        "prices": "of today, for each request by itself; nothing is cached, nothing is retried",
    }
    if unlisted := [endpoint.name for endpoint in configuration.endpoints if not endpoint.models]:
        found["models"] = f"{', '.join(unlisted)}: none configured, so any model is taken to be served there"
    return found


def _show(source: Path, found: _Found) -> None:
    console = wide_console()
    total = found.total
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("endpoint", "provider", "lines", "input tokens", "output tokens", "cost"):
        table.add_column(column, justify="left" if column in ("endpoint", "provider") else "right", no_wrap=True)
    for endpoint in found.endpoints:
        table.add_row(endpoint.name, endpoint.provider, *_cells(found.tallies[endpoint.name]))
    table.add_section()
    for provider, tally in found.providers.items():
        table.add_row("", provider, *_cells(tally))
    table.add_row("all", "", *_cells(total), style="bold")
    console.print(f"{source}: {total.lines:,.0f} lines, about {total.prompt:,.0f} tokens in, {total.completion:,.0f} out, "
                  f"cost {_cost(total)}\n", highlight=False, soft_wrap=True)  # fmt: skip
    console.print(table)
    console.print()
    for each in found.classes:
        if each.unpriced < total.lines:
            how = each.name if each.seconds is not None else f"with --price-class {each.name}"
            console.print(f"{how}: {_amount(each.cost, bool(each.unpriced))}; {each.time}", highlight=False, soft_wrap=True)
    console.print("\nassumed:", highlight=False)
    for what, how in found.assumptions.items():
        console.print(f"  {what}: {how}", highlight=False, markup=False, soft_wrap=True)


def _cells(tally: TokenCount) -> tuple[str, ...]:
    return (f"{tally.lines:,.0f}", f"{tally.prompt:,.0f}", f"{tally.completion:,.0f}", _cost(tally))


def _cost(tally: TokenCount) -> str:
    """Show a cost; what has no known price is never shown as nothing."""
    if tally.unpriced and tally.unpriced >= tally.lines:
        return "unknown"
    return _amount(tally.cost, bool(tally.unpriced))


def _amount(cost: float, at_least: bool) -> str:
    amount = f"${cost:,.2f}" if cost >= 1 or not cost else f"${cost:,.6f}"
    return f"≥ {amount}" if at_least else amount


def _as_dict(found: _Found) -> dict[str, Any]:
    by_endpoint = {e.name: {"provider": e.provider, **_sums(found.tallies[e.name])} for e in found.endpoints}
    return {
        **_sums(found.total),
        **({"flex_cost": round(found.total.flex_cost, 9)} if found.has_flex else {}),
        "classes": {
            each.name.replace(" ", "_"): {
                "cost": None if each.unpriced else round(each.cost, 9),
                "seconds": None if each.seconds is None else round(each.seconds, 1),
                "time": each.time,
            }
            for each in found.classes
        },
        "endpoints": by_endpoint,
        "providers": {name: _sums(tally) for name, tally in found.providers.items()},
        "assumptions": dict(found.assumptions),
    }


def _sums(tally: TokenCount) -> dict[str, Any]:
    """`cost` is null where the price of some lines is not known; `known_cost` is that of the others."""
    return {
        "lines": round(tally.lines, 3),
        "tokens": {"input": round(tally.prompt), "output": round(tally.completion)},
        "cost": None if tally.unpriced else round(tally.cost, 9),
        "known_cost": round(tally.cost, 9),
        "unpriced_lines": round(tally.unpriced, 3),
    }
