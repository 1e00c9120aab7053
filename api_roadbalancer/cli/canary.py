"""The canary of a run: its answers, what the whole job is expected to take, and whether to go on."""

import asyncio
import os
import sys
from collections import Counter

import orjson
from rich.console import Console
from rich.text import Text

from api_roadbalancer.progress import dollars, duration
from api_roadbalancer.tables import answer_of
from jobs.cost.projection import scaled_cost
from jobs.monitoring.overview import EndpointState, endpoint_states
from jobs.node import Node
from jobs.records import Job
from jobs.results.formats import error_code

__all__ = ["ask", "show_canary"]

SHOWN_LINES = 5
LONGEST_TEXT = 300


async def show_canary(console: Console, node: Node, job: Job) -> None:
    """Print some answers of a canary, how its lines ended, and what the job is expected to cost and to take."""
    errors: Counter[str] = Counter()
    shown = 0
    console.print(f"\n[bold]canary[/]     {job.canary:,} of {job.places:,} requests are done", highlight=False)
    async for number, line in node.service.with_requests(job, node.service.lines(job)):
        entry, answer = orjson.loads(line), answer_of(line)
        error = answer["error"]
        if error is not None:
            errors[error_code(line)] += 1
        if shown < SHOWN_LINES and "repeats_line" not in entry:
            shown += 1
            question, found = _shortened(_question(entry["request"])), _shortened(str(error or answer["answer"]))
            console.print(Text.assemble((f"line {number + 1:<6,}", "bold"), (question, "dim")), soft_wrap=True)
            console.print(Text(f"{'':11}{found}", style="red" if error is not None else ""), soft_wrap=True)
    failed = f": {', '.join(f'{count:,} {code}' for code, count in errors.most_common())}" if errors else ""
    console.print(f"           {job.ledger.completed:,} completed, {job.ledger.failed:,} failed{failed}", highlight=False)
    console.print(f"expected   {_expected(job, await endpoint_states(node))}", highlight=False, soft_wrap=True)


def _expected(job: Job, endpoints: list[EndpointState]) -> str:
    cost, is_bound = scaled_cost(job)
    money = "cost unknown (no price configured)" if cost is None else f"about {'≥ ' if is_bound else ''}{dollars(cost)} in all"
    pace = sum(each.limit.value / each.health.latency for each in endpoints if each.health.usable and each.health.latency)
    slots = sum(each.limit.value for each in endpoints if each.health.usable)
    left = job.places - job.canary
    time = f", about {duration(left / pace)} for {left:,} more requests, {slots:,} at once" if pace else ""
    return money + time


def _question(request: dict[str, object]) -> str:
    messages = request.get("messages")
    last = messages[-1].get("content") if isinstance(messages, list) and messages else request.get("prompt", request.get("input"))
    return last if isinstance(last, str) else orjson.dumps(last).decode()


def _shortened(text: str) -> str:
    whole = " ".join(text.split())
    return whole if len(whole) <= LONGEST_TEXT else f"{whole[:LONGEST_TEXT]} …"


async def ask(question: str, interrupted: asyncio.Event) -> bool:
    """Ask a question on the terminal; False for anything but yes, and if `interrupted` is set first."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    answer = bytearray()

    def read() -> None:
        chunk = os.read(sys.stdin.fileno(), 1024)
        answer.extend(chunk)
        if not chunk or b"\n" in chunk:
            answered.set()

    loop.add_reader(sys.stdin.fileno(), read)
    waiting = [asyncio.create_task(event.wait()) for event in (answered, interrupted)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        for task in waiting:
            task.cancel()
    return answer.decode("utf-8", "replace").strip().lower() in ("y", "yes") and not interrupted.is_set()
