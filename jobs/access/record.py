"""The record of an API key, stored in Redis as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from jobs.records import to_nano

__all__ = ["LONGEST_NAME", "KeyRecord", "Limits", "check_name"]

LONGEST_NAME = 100
"""Characters."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may do; None is without limit. `rpm` and `tpm` are per minute, the budgets USD per day and month (UTC).

    `rpm` counts requests that generate, `http_rpm` HTTP requests of every kind. `priority` is the highest that its jobs may have,
    `jobs` how many of them may be unfinished at once, `files` and `stored_bytes` how much it may store, and `retention` for how
    many seconds.
    """

    rpm: int | None = None
    tpm: int | None = None
    parallel: int | None = None
    budget_day: float | None = None
    budget_month: float | None = None
    priority: int | None = None
    jobs: int | None = None
    files: int | None = None
    stored_bytes: int | None = None
    retention: int | None = None
    http_rpm: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "priority":
                continue
            if value is not None and not 0 < value <= 1e15:
                raise ValueError(f"{name} must be greater than 0 (got {value:g}); leave it out for no limit")
        for name in ("budget_day", "budget_month"):
            if getattr(self, name) is not None and to_nano(getattr(self, name)) > 2**53:
                raise ValueError(f"{name} must be at most 9000000 USD; leave it out for no limit")

    def __bool__(self) -> bool:
        """Whether there is any limit at all."""
        return self != UNLIMITED

    def to_dict(self) -> dict[str, int | float]:
        """Return those that are set. Earlier versions, which run beside this one during an upgrade, may not know the others."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def has_budget(self) -> bool:
        """Whether what is spent matters."""
        return self.budget_day is not None or self.budget_month is not None


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One virtual key. Times are seconds since the epoch; `models` are the names it may ask for, empty for all of them.
    A secret that was replaced has a record of its own until it expires, which is `retired`. `last_used_at`, to the minute, is
    kept beside the record, None for a key that was not used."""

    id: str
    name: str
    digest: str
    created_at: int
    expires_at: int | None = None
    models: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    admin: bool = False
    revoked: bool = False
    retired: bool = False
    last_used_at: int | None = None

    def lives(self, now: float) -> bool:
        """Whether the key opens anything at `now` (s)."""
        return not self.revoked and (self.expires_at is None or now < self.expires_at)

    def to_json(self) -> bytes:
        """Return the record as Redis holds it."""
        fields = {name: value for name, value in asdict(self).items() if name != "last_used_at"}
        return orjson.dumps({**fields, "limits": self.limits.to_dict()})

    @classmethod
    def from_json(cls, text: bytes) -> "KeyRecord":
        """Make the record from what Redis holds."""
        fields: dict[str, Any] = orjson.loads(text)
        return cls(**{**fields, "models": tuple(fields["models"]), "limits": Limits(**fields["limits"])})


def check_name(name: str) -> str:
    """Return a name that can stand in a table. Raises ValueError."""
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise ValueError(f"a key's name must have 1 to {LONGEST_NAME} printable characters, without spaces around it")
    return name
