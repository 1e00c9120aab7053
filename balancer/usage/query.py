"""Parses queries of the account of usage: a span of days and the groups of its sums."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal, cast, get_args

from balancer.errors import BalancerError

__all__ = ["DEFAULT_DAYS", "GROUPS", "LONGEST_SPAN", "Group", "InvalidUsageQuery", "UsageQuery", "usage_query"]

Group = Literal["day", "provider", "model", "endpoint", "key", "source", "tier"]
GROUPS: tuple[Group, ...] = get_args(Group)
DEFAULT_DAYS = 30
LONGEST_SPAN = 400
"""Days that one question may be about: as many as are kept."""


class InvalidUsageQuery(BalancerError, ValueError):
    """The account can't be asked this. `field` is `from`, `to` or `by`, `reason` what is wrong with it."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Days (UTC) from `first` to `last`, both included, summed for each combination of what stands in `by`; with a `key` (an id),
    what was used with that one only."""

    first: date
    last: date
    by: tuple[Group, ...]
    key: str | None = None

    def days(self) -> Iterator[date]:
        """Iterate over the days."""
        return map(date.fromordinal, range(self.first.toordinal(), self.last.toordinal() + 1))


def usage_query(first: str | None, last: str | None, by: str, today: date) -> UsageQuery:
    """Read a question: two days (`2026-01-31`) and names by comma.

    Without `last` it ends `today`, without `first` it is about DEFAULT_DAYS days. Raises InvalidUsageQuery.
    """
    until = today if last is None else _day("to", last)
    since = date.fromordinal(max(1, until.toordinal() - DEFAULT_DAYS + 1)) if first is None else _day("from", first)
    if since > until:
        raise InvalidUsageQuery("from", f"{since} is after the last day, {until}")
    if (until - since).days >= LONGEST_SPAN:
        raise InvalidUsageQuery("from", f"{since} to {until} is more than {LONGEST_SPAN} days; ask for fewer at a time")
    return UsageQuery(since, until, _groups(by))


def _day(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # Python knows further ISO forms, such as 20260131 and 2026-W05-6.
    if day is None or day.isoformat() != text:
        raise InvalidUsageQuery(field, f"{text!r} is no day; write one as YYYY-MM-DD")
    return day


def _groups(by: str) -> tuple[Group, ...]:
    names = [name.strip() for name in by.split(",")]
    for name in names:
        if name not in GROUPS:
            raise InvalidUsageQuery("by", f"{name!r} is none of {', '.join(GROUPS)}")
        if names.count(name) > 1:
            raise InvalidUsageQuery("by", f"{name!r} stands there twice")
    return tuple(cast(Group, name) for name in names)
