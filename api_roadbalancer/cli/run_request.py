"""The arguments of `run`, and the command line that continues a paused run."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from api_roadbalancer.named_endpoints import NamedEndpoints
from api_roadbalancer.progress import dollars, job_line
from jobs.cost.projection import sufficient_cap
from jobs.records import Job

__all__ = ["RunRequest", "default_out", "how_to_go_on"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be done: the input, where the output goes, how long it may take, and what it may cost (USD).

    With `force` the output may replace a file that holds something else. `endpoints` stand instead of the configured ones.
    """

    source: Path
    out: Path
    window: str
    workers: int
    config: Path | None
    max_cost: float | None
    force: bool = False
    endpoints: NamedEndpoints | None = None

    def command(self, max_cost: float) -> str:
        """Return the command line that goes on with another cap."""
        named = ["-o", str(self.out)] if self.out != default_out(self.source) else []
        settings = ["--config", str(self.config)] if self.config else []
        forced = ["--force"] if self.force else []
        endpoints = self.endpoints.words() if self.endpoints else []
        cap = ["--max-cost", f"{max_cost:.12g}"]
        words = ["roadbalancer", "run", str(self.source), *named, *forced, *settings, *endpoints, *cap]
        return shlex.join(words)


def default_out(source: Path) -> Path:
    """Return where the results of an input go by default: `in.jsonl` has `in.results.jsonl`."""
    return source.with_name(f"{source.stem}.results.jsonl")


def how_to_go_on(request: RunRequest, job: Job) -> str:
    """Say that a job rests at its cap, and which commands go on with it and show what is finished."""
    settings = f" --config {shlex.quote(str(request.config))}" if request.config else ""
    cap = dollars(job.max_cost or 0.0)
    return "\n".join(
        [
            f"paused     the cap of {cap} is reached; {job.ledger.done:,} of {job.ledger.total:,} lines are done and kept",
            f"           {job_line(job)}",
            f"go on      {request.command(sufficient_cap(job))}",
            f"so far     roadbalancer results {job.id}{settings} -o FILE",
        ]
    )
