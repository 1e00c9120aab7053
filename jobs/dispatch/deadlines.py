"""Which jobs are short of time, and which can't be done in time at all (pure).

Jobs of one priority share the fleet evenly (see `planning`). One that would be late with its share goes before its equals, the
earliest deadline first (Liu and Layland 1973), for as long as it would. A job that would be late even so gains nothing by going
first, and takes nothing from the others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from jobs.dispatch.sizing import EndpointLoad, JobNeed

__all__ = ["Outlook", "outlook"]

SPARE = 0.2
"""Share of its window that a job is to have left when it is done: paces are estimates, and change."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """`urgent` jobs go before others of their priority. `late` maps each job that can't meet its deadline to the estimated
    seconds until it is done."""

    urgent: frozenset[str] = frozenset()
    late: dict[str, float] = field(default_factory=dict)


def outlook(needs: Iterable[JobNeed], loads: Sequence[EndpointLoad]) -> Outlook:
    """Look ahead by the measured paces; endpoints without one say nothing."""
    urgent: set[str] = set()
    late: dict[str, float] = {}
    before = 0.0
    """Lines of the jobs before this one: of a higher priority, or with an earlier deadline."""
    ordered = sorted(needs, key=lambda need: (-need.priority, need.seconds_left))
    for need in ordered:
        work, pace = _work(need), _pace(need, loads)
        if pace:
            first, shared = (before + work) / pace, _shared_work(need, ordered) / pace
            if first > need.seconds_left:
                late[need.job_id] = first
            elif shared > need.seconds_left - SPARE * max(need.window, need.seconds_left):
                urgent.add(need.job_id)
        if need.job_id not in late:
            before += work
    return Outlook(frozenset(urgent), late)


def _shared_work(need: JobNeed, needs: Iterable[JobNeed]) -> float:
    """Return the lines that are done until a job is done which shares the fleet with its equals: of each as many as it has."""
    work = 0.0
    for other in needs:
        if other.priority > need.priority:
            work += _work(other)
        elif other.priority == need.priority and other.endpoints & need.endpoints:
            work += min(_work(other), _work(need))
    return work


def _work(need: JobNeed) -> float:
    return need.remaining + sum(need.open_lines.values())


def _pace(need: JobNeed, loads: Sequence[EndpointLoad]) -> float:
    """Return the lines a second that the endpoints of the first tier which serve a job get done, 0 if that is not known."""
    serving = [load for load in loads if load.name in need.endpoints]
    first = min((load.priority for load in serving), default=0)
    return sum(load.pace for load in serving if load.priority == first)
