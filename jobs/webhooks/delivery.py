"""Sends the events of jobs to their webhooks, until they have been received or a day is over.

An event is noted in Redis by the script that ends or pauses the job, so that none is lost; it may be sent twice, with the same
id.
"""

import asyncio
import logging
import random
import time
from dataclasses import asdict, dataclass, field
from typing import Literal

import httpx
import orjson
from redis.exceptions import RedisError

from balancer.http.closing_transport import ClosingTransport
from balancer.state.redis_connection import AsyncRedis
from jobs.access.addresses import public_address
from jobs.errors import JobError, NotFound
from jobs.records import Job
from jobs.storage import keys
from jobs.storage.job_store import JobStore
from jobs.webhooks.settings import Webhook, event_of

__all__ = ["Attempt", "Deliveries", "Delivery", "deliveries_of"]

WAITS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0, 28800.0)
"""Seconds before each further attempt: about a day in all."""
JITTER = 0.2
"""Share of a wait that it varies by, so that many do not come back at once."""
PATIENCE = 15.0
"""Seconds for one attempt."""
MOST_AT_ONCE = 16
CLAIM = 20.0
"""Seconds, longer than an attempt takes, for which an event that is being sent is due to no process."""
KEPT_FOR = 30 * 86400
"""Seconds that the log of a job's deliveries is kept."""
GONE = 410
"""Status with which a receiver wants no more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at `at` (s since the epoch): the receiver's HTTP status, or the `error` that kept it from having one."""

    at: int
    status: int | None = None
    error: str | None = None

    @property
    def is_received(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Delivery:
    """An event of a job and the attempts to deliver it. `state` is `pending`, `delivered` or `failed`, and `next_at` (s since the
    epoch) when it is sent again."""

    id: str
    event: str
    body: str
    created_at: int
    state: Literal["pending", "delivered", "failed"] = "pending"
    next_at: int | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @classmethod
    def of(cls, job: Job, number: str, status: str) -> "Delivery":
        """Make the event of a job that has come to this status, in the form of OpenAI's webhooks."""
        now = int(time.time())
        event_id, event = f"evt_{job.id}_{number}", event_of(status)
        ledger = job.ledger
        data = {
            "id": job.id,
            "status": job.status,
            "paused": job.paused,
            "total": ledger.total,
            "completed": ledger.completed,
            "failed": ledger.failed,
            "cost": job.cost,
            "output_file_id": job.output_file_id,
            "error_file_id": job.error_file_id,
            "metadata": job.metadata,
        }
        body = {"id": event_id, "object": "event", "type": event, "created_at": now, "data": data}
        return cls(event_id, event, orjson.dumps(body).decode(), now)

    @classmethod
    def from_json(cls, kept: bytes) -> "Delivery":
        """Make it of what was kept in Redis."""
        found = orjson.loads(kept)
        return cls(**{**found, "attempts": [Attempt(**each) for each in found["attempts"]]})

    def add(self, attempt: Attempt, jitter: float) -> None:
        """Say how an attempt went, and when the next one is due; `jitter` is a factor of the wait."""
        self.attempts.append(attempt)
        self.next_at = None
        if attempt.is_received:
            self.state = "delivered"
        elif attempt.status == GONE or len(self.attempts) > len(WAITS):
            self.state = "failed"
        else:
            self.next_at = attempt.at + round(WAITS[len(self.attempts) - 1] * jitter)


async def deliveries_of(redis: AsyncRedis, job_id: str) -> list[Delivery]:
    """Return the events of a job that were sent, or are to be sent again, oldest first."""
    kept = await redis.hgetall(keys.deliveries(job_id))
    return [Delivery.from_json(kept[number]) for number in sorted(kept, key=int)]


class Deliveries:
    """Call `send_due` now and then from one process, and `aclose` in the end; what is then under way is sent again later."""

    def __init__(self, redis: AsyncRedis, jobs: JobStore, private_addresses: bool) -> None:
        self._redis = redis
        self._jobs = jobs
        self._private_addresses = private_addresses
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._client: httpx.AsyncClient | None = None
        self._rng = random.Random()

    async def send_due(self) -> None:
        """Begin to send what is due, without waiting for it."""
        free = MOST_AT_ONCE - len(self._sending)
        if free <= 0:
            return
        due = await self._redis.zrangebyscore(keys.EVENTS, 0, time.time(), start=0, num=MOST_AT_ONCE)
        members = [name for name in map(bytes.decode, due) if name not in self._sending][:free]
        if members:
            await self._redis.zadd(keys.EVENTS, dict.fromkeys(members, time.time() + CLAIM), xx=True)
        for member in members:
            task = asyncio.create_task(self._deliver(member))
            self._sending[member] = task
            task.add_done_callback(lambda _, member=member: self._sending.pop(member))  # type: ignore[misc]

    async def aclose(self) -> None:
        """Stop what is under way."""
        tasks = list(self._sending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _deliver(self, member: str) -> None:
        try:
            await self._attempt(member, *member.split(":"))
        except (RedisError, JobError) as exc:
            log.warning("the event %s is sent again: %s", member, exc)
        except Exception:
            log.exception("the event %s could not be sent", member)

    async def _attempt(self, member: str, job_id: str, number: str, status: str) -> None:
        try:
            job = await self._jobs.get(job_id)
        except NotFound:  # deleted meanwhile
            await self._redis.zrem(keys.EVENTS, member)
            return
        webhook = Webhook.from_json(job.webhook)
        if event_of(status) not in webhook.events:
            await self._redis.zrem(keys.EVENTS, member)
            return
        kept = await self._redis.hget(keys.deliveries(job_id), number)
        delivery = Delivery.from_json(kept) if kept else Delivery.of(job, number, status)
        attempt = await self._send(webhook, delivery)
        delivery.add(attempt, self._rng.uniform(1 - JITTER, 1 + JITTER))
        await self._keep(member, job_id, number, delivery)
        level = logging.INFO if attempt.is_received else logging.WARNING
        answer = f"HTTP {attempt.status}" if attempt.status else attempt.error
        log.log(level, "event %s of %s: attempt %d: %s", delivery.event, job_id, len(delivery.attempts), answer)

    async def _keep(self, member: str, job_id: str, number: str, delivery: Delivery) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(keys.deliveries(job_id), number, orjson.dumps(asdict(delivery)).decode())
            pipe.expire(keys.deliveries(job_id), KEPT_FOR)
            if delivery.next_at is None:
                pipe.zrem(keys.EVENTS, member)
            else:
                pipe.zadd(keys.EVENTS, {member: delivery.next_at})
            await pipe.execute()

    async def _send(self, webhook: Webhook, delivery: Delivery) -> Attempt:
        now = int(time.time())
        body = delivery.body.encode()
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now),
            "webhook-signature": webhook.signature(delivery.id, now, body),
        }
        try:
            async with asyncio.timeout(PATIENCE):
                return Attempt(now, status=await self._post(webhook.url, headers, body))
        except TimeoutError:
            return Attempt(now, error=f"no answer within {PATIENCE:g} s")
        except (httpx.HTTPError, OSError) as exc:
            return Attempt(now, error=str(exc) or type(exc).__name__)

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        """Return the status; what else is answered is not read, and a redirect not followed."""
        if self._client is None:
            self._client = httpx.AsyncClient(transport=ClosingTransport(trust_env=False), timeout=PATIENCE, trust_env=False)
        target, extensions = httpx.URL(url), {}
        if not self._private_addresses:
            # Connect to the address that was looked at: a second look-up may give another one.
            address = await public_address(target.host, target.port or 443)
            headers = {**headers, "host": target.netloc.decode()}
            target, extensions = target.copy_with(host=address), {"sni_hostname": target.host}
        request = self._client.build_request("POST", target, headers=headers, content=body, extensions=extensions)
        answer = await self._client.send(request, stream=True)
        await answer.aclose()
        return answer.status_code
