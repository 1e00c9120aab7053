"""Access control of one process: authenticates callers, admits requests, records what they used."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field, replace
from pathlib import Path

from redis.exceptions import RedisError

from balancer.runtime.loop import end_tasks
from balancer.runtime.record import record
from balancer.state.redis_connection import AsyncRedis
from balancer.state.scripts import Scripts
from jobs.access import redis_keys
from jobs.access.caller import Caller
from jobs.access.key_authenticator import Clocks, KeyAuthenticator
from jobs.access.leases import LEASE_SECONDS, Leases
from jobs.access.rate_limit_status import RateLimitStatus, rate_headers, refusal_of
from jobs.access.record import Limits
from jobs.access.spending import DAY_KEPT, MONTH_KEPT, counters
from jobs.access.store import KeyStore
from jobs.records import to_nano

__all__ = ["Access", "Admission"]

MOST_RESERVED = 10**15
"""Nanodollars: a guess beyond a million USD (a client's `max_tokens` may be anything) reserves just that."""
CLOSING_PATIENCE = 5.0
"""Seconds that Redis has at the end to take in how the last requests ended."""

log = logging.getLogger(__name__)


@record(frozen=True, slots=True)
class Admission:
    """The right to send one request. `headers` tell the rates; `lease` is empty for callers without limits; `reserved` are the
    nanodollars of its budget that are kept for it until it ends."""

    headers: dict[str, str] = field(default_factory=dict)
    lease: str = ""
    expected_tokens: int = 0
    reserved: int = 0


class Access:
    """One for each process, on its loop. Limits are shared with all others through Redis. `aclose` at the end.

    Callers without limits cost no round trip; the others one to be admitted and at most one to finish. While Redis is away,
    those with limits are refused with its error.
    """

    def __init__(
        self,
        redis: AsyncRedis,
        configured: Sequence[str] = (),
        open_door: bool = True,
        clocks: Clocks | None = None,
        on_keys_seen: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`configured` are the secrets of `ROADBALANCER_API_KEYS`; `open_door` lets everybody in while there is no key at all.

        `on_keys_seen` is awaited when the first key is seen, from when on the door stays shut.
        """
        self._clocks = clocks or Clocks()
        self._authenticator = KeyAuthenticator(KeyStore(redis), configured, open_door, self._clocks, on_keys_seen)
        self._scripts = Scripts(redis, Path(__file__).parent / "lua")
        self._leases = Leases(redis)
        self._under_way: set[str] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._owed: dict[str, int] = {}

    async def identify(self, secret: str) -> Caller | None:
        """Return the caller with this secret, None if there is none."""
        return await self._authenticator.identify(secret)

    async def still_knows(self, caller: Caller) -> bool:
        """Whether a caller that was let in has a key that is neither revoked nor expired; so it seems while Redis is away."""
        try:
            return await self._authenticator.still_knows(caller)
        except RedisError as exc:
            log.warning("whether %s was revoked can't be seen: %s", caller.id, exc)
            return True

    async def admit_http(self, caller: Caller) -> None:
        """Count one HTTP request, of whatever kind. Raises Refused, and RedisError where the limit can't be checked."""
        limits = caller.limits
        if limits is not None and limits.http_rpm is not None:
            now = self._clocks.wall()
            bucket = (redis_keys.http_limits(caller.id), *_redis_keys(caller, now)[1:])
            await self._ask(bucket, Limits(http_rpm=limits.http_rpm), (limits.http_rpm, *(0,) * 5, "", 0, 0), now)

    async def admit(self, caller: Caller, model: str | None, expected_tokens: int, expected_nano: int = 0) -> Admission:
        """Let one request go; `finish` it in any case. A key for certain models must name one. Of a key with a budget,
        `expected_nano` nanodollars are reserved, so that requests at once can't overrun it together.

        Raises Refused, and RedisError where limits can't be checked.
        """
        caller.check_models((model or "",))
        limits = caller.limits
        if limits is None:
            return Admission()
        lease = secrets.token_hex(8)
        # A guess beyond a minute's worth (a client's `max_tokens` may be anything) takes just that.
        expected = max(0, min(expected_tokens, limits.tpm or 0))
        reserved = min(max(0, expected_nano), MOST_RESERVED) if limits.has_budget else 0
        standing = await self._take(caller, limits, expected, lease, reserved)
        if limits.parallel is not None or reserved:
            self._leases.hold(caller.id, lease)
        self._under_way.add(lease)
        return Admission(rate_headers(limits, standing), lease, expected, reserved)

    async def hold(self, caller: Caller) -> Admission:
        """Let a stream of events go, which is one of the requests that a key may have at once; `finish` it in any case.

        Raises Refused, and RedisError where the limit can't be checked.
        """
        limits = caller.limits
        if limits is None or limits.parallel is None:
            return Admission()
        lease = secrets.token_hex(8)
        at_once = replace(limits, rpm=None, tpm=None, budget_day=None, budget_month=None)
        await self._take(caller, at_once, 0, lease, 0)
        self._leases.hold(caller.id, lease)
        self._under_way.add(lease)
        return Admission(lease=lease)

    async def check_budget(self, caller: Caller) -> None:
        """Refuse a caller whose budget is spent, for what is paid later (jobs). Takes nothing. Raises Refused, RedisError."""
        limits = caller.limits
        if limits is not None and limits.has_budget:
            await self._take(caller, replace(limits, rpm=None, tpm=None, parallel=None), 0, "", 0)

    async def finish(self, caller: Caller, admission: Admission, tokens: int, cost_nano: int | None) -> None:
        """Take in how an admitted request ended: `tokens` used in all (0 if it was never sent), its cost where that is known.

        Never fails, and goes on when the caller's task is cancelled: the answer has been given. The second call does nothing.
        """
        limits = caller.limits
        if limits is None or admission.lease not in self._under_way:
            return
        self._under_way.discard(admission.lease)
        self._leases.drop(admission.lease)
        beyond = tokens - admission.expected_tokens if limits.tpm is not None else 0
        nano = (cost_nano or 0) if limits.has_budget else 0
        if beyond or nano or admission.reserved or limits.parallel is not None:
            task = asyncio.create_task(
                self._record_usage(caller, limits, admission.lease, (beyond, nano)), name="record the usage of a request"
            )
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)
            await asyncio.shield(task)

    async def aclose(self) -> None:
        """Report what is pending, and stop renewing leases."""
        if self._endings:
            await asyncio.wait(self._endings, timeout=CLOSING_PATIENCE)
        await end_tasks(*self._endings)
        await self._leases.aclose()

    async def _take(self, caller: Caller, limits: Limits, expected: int, lease: str, reserved: int) -> RateLimitStatus:
        now = self._clocks.wall()
        args = (*_bounds(limits), expected, lease, int(LEASE_SECONDS * 1000), reserved)
        return await self._ask(_redis_keys(caller, now), limits, args, now)

    async def _ask(self, keys: tuple[str, ...], limits: Limits, args: tuple[str | int, ...], now: float) -> RateLimitStatus:
        standing = RateLimitStatus.from_answer(await self._scripts.run("admit", keys, args))
        refused = refusal_of(limits, standing, now)
        if refused:
            raise refused
        return standing

    async def _record_usage(self, caller: Caller, limits: Limits, lease: str, used: tuple[int, int]) -> None:
        beyond, nano = used[0], used[1] + self._owed.pop(caller.id, 0)
        args = (limits.tpm or 0, beyond, lease, nano, DAY_KEPT, MONTH_KEPT)
        try:
            await self._scripts.run("reconcile", _redis_keys(caller, self._clocks.wall()), args)
        except RedisError as exc:
            # The lease runs out by itself, and the tokens come back with time; what was spent is reported with the next request.
            self._owed[caller.id] = self._owed.get(caller.id, 0) + nano
            log.warning("the usage of a request of %s could not be recorded: %s", caller.id, exc)


def _redis_keys(caller: Caller, now: float) -> tuple[str, ...]:
    """Return the keys of both scripts."""
    return (redis_keys.limits(caller.id), redis_keys.leases(caller.id), *counters(caller.id, now), redis_keys.reserved(caller.id))


def _bounds(limits: Limits) -> tuple[str | int, ...]:
    """Return the limits as the script takes them, 0 for none. A budget below a nano-dollar is one of a nano-dollar."""
    budgets = (0 if usd is None else max(1, to_nano(usd)) for usd in (limits.budget_day, limits.budget_month))
    return (limits.rpm or 0, limits.tpm or 0, limits.parallel or 0, *budgets)
