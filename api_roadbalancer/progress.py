"""Formats the progress of a job and the state of its endpoints for the terminal."""

import time
from collections import deque
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from balancer.state.concurrency import LimitedBy
from balancer.state.health import Circuit
from jobs.cost.projection import Projection, project
from jobs.monitoring.overview import EndpointState
from jobs.records import Job

__all__ = [
    "Rate",
    "cached_share",
    "dollars",
    "duration",
    "fleet_table",
    "how_it_is_sent",
    "job_line",
    "job_view",
    "lateness",
    "limited_by",
    "money",
    "spent",
    "state_of",
    "waiting_because",
    "what_is_down",
]  # fmt: skip

BESIDE_BAR = 28
"""Columns of the figures beside a progress bar."""
WIDE, MIDDLING = 110, 70
"""Columns of a terminal that has room for the whole table of the fleet, and for most of it."""
RATE_SECONDS = 10.0
"""The rate shown is that of the last seconds."""


class Rate:
    """Lines per second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, done: int) -> float:
        """Take a new count in and return the rate."""
        now = time.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        seconds = now - self._seen[0][0]
        return (done - self._seen[0][1]) / seconds if seconds > 0 else 0.0


def job_view(job: Job, rate: float, endpoints: Sequence[EndpointState], width: int = 250) -> RenderableType:
    """Draw a job and the fleet, in a terminal of `width` columns."""
    ledger = job.ledger
    bar = Table.grid(padding=(0, 1))
    share = ledger.done / ledger.total if ledger.total else 0.0
    bar.add_row(
        ProgressBar(total=max(1, ledger.total), completed=ledger.done, width=max(4, min(44, width - BESIDE_BAR))),
        f"{share:6.1%}",
        f"{ledger.done:,}/{ledger.total:,}",
    )
    why = [Text(waits, style="yellow")] if (waits := waiting_because(job)) else []
    how = [Text(sent, style="dim")] if (sent := how_it_is_sent(job)) else []
    return Group(bar, Text(job_line(job, rate)), *how, *why, Text(""), fleet_table(endpoints, job.shares, width))


def job_line(job: Job, rate: float | None = None) -> str:
    """Say in one line how far a job is; `rate` in lines per second, None if it is not known."""
    ledger = job.ledger
    parts = [state_of(job), f"{ledger.completed:,} done", f"{ledger.failed:,} failed"]
    left = ledger.total - ledger.done
    if late := lateness(job):
        parts.append(late)
    if rate is not None and left and not job.paused:
        parts += [f"{rate:,.1f} lines/s", f"ETA {duration(left / rate) if rate > 0 else '?'}"]
    tokens = f"{job.tokens.prompt:,} in{cached_share(job)}, {job.tokens.completion:,} out"
    parts += [f"tokens {tokens}", money(job)]
    projection = project(job)
    return " · ".join([*parts, _projected(projection)] if projection and left else parts)


def how_it_is_sent(job: Job) -> str:
    """Say in one line what is done for a job beyond sending its lines in their order, and why; "" if nothing is."""
    if job.is_final:
        return ""
    parts = []
    if job.groups_prefixes:
        parts.append("prompts that begin alike go together, for the endpoints' caches")
    if job.is_background:
        parts.append("takes only what no other job wants (background)")
    elif job.is_urgent:
        parts.append("short of time, so it goes before its equals")
    if job.hedged:
        parts.append(f"{_lines(job.hedged)} sent to a second endpoint, as the first was late")
    return " · ".join(parts)


def _lines(count: int) -> str:
    return f"{count:,} line{'s' if count != 1 else ''}"


def lateness(job: Job, now: float | None = None) -> str:
    """Describe how late a job will be by the current estimate; "" if it is in time."""
    if job.late_at is None or job.is_final:
        return ""
    needed = job.late_at - (time.time() if now is None else now)
    return f"late: it needs about {duration(needed)}, {duration(job.late_at - job.expires_at)} beyond its window"


def cached_share(job: Job) -> str:
    """Return the share of a job's prompt tokens that endpoints reported as cached, and what that saved; "" if none."""
    if not job.tokens.cached:
        return ""
    saved = f", saved ${job.saved:,.4f}" if job.saved >= 0.0001 else ""
    return f" ({job.tokens.cached / job.tokens.prompt:.0%} cached{saved})"


def state_of(job: Job) -> str:
    """Name a job's state for people: its status, or why it is paused."""
    return f"paused ({job.paused})" if job.paused else str(job.status)


def waiting_because(job: Job) -> str:
    """Say in one line why no line of a job is finished for now, and when the next attempt is; "" while lines are."""
    if job.waiting is None or job.is_final:
        return ""
    left = (job.waiting.next_attempt_at or 0.0) - time.time()
    soon = f"; next attempt in {duration(left)}" if left > 0 else ""
    return f"waiting because {job.waiting.reason}{soon}"


def what_is_down(endpoints: Sequence[EndpointState]) -> str:
    """Say in one line which endpoints are left alone and why; "" if none is."""
    return "; ".join(f"{e.name} is down: {e.health.last_error}" for e in endpoints if e.health.circuit is Circuit.OPEN)


def fleet_table(endpoints: Sequence[EndpointState], shares: dict[str, int] | None = None, width: int = 250) -> Table:
    """Draw the endpoints; with `shares` (lines by endpoint), each one's part of the job. In a terminal of few columns (`width`)
    it has fewer of its own."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    columns = _COLUMNS[: 3 if width < MIDDLING else 6 if width < WIDE else len(_COLUMNS)]
    for column in columns:
        if column != "share" or shares is not None:
            table.add_column(column, justify="left" if column in _LEFT else "right", overflow="fold")
    total = sum((shares or {}).values())
    for view in endpoints:
        health = view.health
        cells: dict[str, str | Text] = {
            "endpoint": view.name,
            "health": Text(*(("draining", "yellow") if view.draining else _HEALTH[health.circuit])),
            "in flight": f"{view.in_flight}/{view.limit.value}",
            "latency": f"{health.latency:.3f} s" if health.latency is not None else "-",
            "errors": f"{health.failed:,}",
            "limited by": limited_by(view),
            "queue": str(view.queued),
            "last error": Text(health.last_error[:60] if health.circuit is not Circuit.CLOSED else "", style="dim"),
        }
        if shares is not None:
            cells["share"] = f"{shares.get(view.name, 0) / total:.0%}" if total else "-"
        table.add_row(*(cells[column] for column in columns if column in cells))
    return table


_COLUMNS = ("endpoint", "health", "in flight", "share", "latency", "errors", "limited by", "queue", "last error")
_LEFT = ("endpoint", "health", "limited by", "last error")


def limited_by(endpoint: EndpointState) -> str:
    """Describe what bounds the requests in flight at an endpoint: the work available, or what set its limit."""
    if not endpoint.in_flight:
        return "no work"
    if endpoint.in_flight < 0.8 * endpoint.limit.value:
        return "work sent"
    return _LIMITED_BY[endpoint.limit.limited_by]


_LIMITED_BY = {
    None: "max_concurrency",
    LimitedBy.START: "start (learning)",
    LimitedBy.THROUGHPUT: "endpoint: throughput",
    LimitedBy.REFUSALS: "endpoint: refuses more",
    LimitedBy.ENGINE: "endpoint: its queue",
    LimitedBy.BOUND: "max of auto",
}
_HEALTH = {
    Circuit.CLOSED: ("● up", "green"),
    Circuit.HALF_OPEN: ("◐ trying", "yellow"),
    Circuit.OPEN: ("○ down", "red"),
}


def duration(seconds: float) -> str:
    """Return a length of time for people: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def money(job: Job) -> str:
    """Return a job's cost for people; lines without a known price are counted apart."""
    if not job.cost and not job.ledger.done and job.max_cost is None:
        return "nothing paid yet"
    if job.unpriced and not job.cost:
        return "cost unknown (no price configured)"
    cap = f" (cap {dollars(job.max_cost)})" if job.max_cost is not None else ""
    known = f"cost ${job.cost:,.4f}{cap}"
    return f"{known} + {job.unpriced:,} lines without a price" if job.unpriced else known


def spent(job: Job) -> str:
    """Return what a job has cost for a narrow column."""
    if not job.cost and not job.ledger.done:
        return "-"
    if job.unpriced and not job.cost:
        return "unknown"
    return f"{'≥ ' if job.unpriced else ''}${job.cost:,.4f}"


def dollars(amount: float) -> str:
    """Return an amount with cents, and with as many further decimals (up to six) as it has."""
    whole = f"{amount:,.6f}"
    return "$" + whole[:-4] + whole[-4:].rstrip("0")


def _projected(projection: Projection) -> str:
    """Say what the whole job will take; small amounts with four decimals, as they would be nothing in cents."""
    tokens = f"{projection.prompt_tokens:,} in, {projection.completion_tokens:,} out"
    if projection.cost is None:
        return f"in all about {tokens}, cost unknown"
    cost = f"{projection.cost:,.2f}" if projection.cost >= 1 else f"{projection.cost:,.4f}"
    return f"in all about {tokens}, {'≥ ' if projection.at_least else ''}${cost}"
