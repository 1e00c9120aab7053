"""The reason why a job waits, as it is shown to the user."""

from dataclasses import asdict, dataclass

import orjson

from balancer.outcome import Failure

__all__ = ["Waiting", "after_failures", "at_endpoints"]

LONGEST = 500
"""Characters that are kept of a reason."""
SHOWN = 3
"""Endpoints that a reason names."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """`reason` holds no prompt and no key; `next_attempt_at` is in seconds since the epoch, None if unknown."""

    reason: str
    next_attempt_at: float | None = None

    def to_json(self) -> bytes:
        """Return it as Redis holds it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Waiting":
        """Make it from what Redis holds."""
        return cls(**orjson.loads(text))

    @classmethod
    def because(cls, reason: str, next_attempt_at: float | None = None) -> "Waiting":
        """Make it of a text of any length."""
        return cls(reason[:LONGEST], next_attempt_at)


def after_failures(failures: list[Failure], next_attempt_at: float) -> Waiting:
    """Say that lines failed everywhere, and how the last of them did."""
    last = failures[-1]
    lines = f"{len(failures):,} lines" if len(failures) > 1 else "a line"
    return Waiting.because(f"{lines} failed at every endpoint tried: {last.kind}: {last.public_message}", next_attempt_at)


def at_endpoints(troubles: dict[str, str], next_attempt_at: float | None) -> Waiting:
    """Say that no endpoint which serves a job can be used: name -> what is wrong there."""
    shown = [f"{name}: {trouble}" for name, trouble in list(troubles.items())[:SHOWN]]
    more = f"; and {len(troubles) - SHOWN} more" if len(troubles) > SHOWN else ""
    return Waiting.because(f"no endpoint that serves it can be used: {'; '.join(shown)}{more}", next_attempt_at)
