"""What the tests of API keys share: a clock, callers, refusals."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.access import (
    Access,
    Caller,
    KeyStore,
    Limits,
    Refused,
)
from jobs.access.store import KeyOrder

__all__ = ["HOSTILE", "NOW", "MakeAccess", "Time", "caller_of", "refusal"]


NOW = datetime(2026, 3, 9, 12, tzinfo=UTC).timestamp()
HOSTILE = ["", " ", "\x00", "\r\nset a 1\r\n", "rb-", "a" * 10_000_000, "schlüssel", "\ud800", "*", "rb:keys", "🗝" * 500]


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> float:
        return self.seconds


MakeAccess = Callable[..., Access]


async def caller_of(access: Access, keys: KeyStore, name: str = "team", **limits: Any) -> Caller:
    _, secret = await keys.create(KeyOrder(name, limits=Limits(**limits)))
    caller = await access.identify(secret)
    assert caller
    return caller


async def refusal(access: Access, caller: Caller, tokens: int = 0, nano: int = 0) -> Refused:
    with pytest.raises(Refused) as refused:
        await access.admit(caller, "m", tokens, nano)
    return refused.value
