"""`Idempotency-Key`: a repeated request returns the job of the first one.

The id of what is made follows from the caller and the key, so that a repeat finds it, in whichever process and however long
after, as long as it is kept. (The header is that of the IETF draft draft-ietf-httpapi-idempotency-key-header.)
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header
from pydantic import BaseModel

from jobs.errors import NotFound
from jobs.records import Job
from producer_api.access.callers import CurrentCaller
from producer_api.context import ApiContext
from producer_api.http.errors import ApiError, Problem

__all__ = ["Idempotency", "Repeats"]

LONGEST_KEY = 255
"""Characters of a key."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What a caller's key makes of a request; without a key nothing is derived."""

    owner: str
    key: str | None

    @property
    def job_id(self) -> str | None:
        """The id of the job that requests with this key make."""
        return f"batch_{self._digest('job')[:32]}" if self.key is not None else None

    def digest_of(self, body: BaseModel) -> str:
        """Return a digest of the request's body, which tells a repeat from another request; "" without a key."""
        return self._digest(body.model_dump_json()) if self.key is not None else ""

    async def made_before(self, api: ApiContext, body: BaseModel) -> Job | None:
        """Return the job that this request has made before. Raises ApiError (409) if the key has served another request."""
        if self.job_id is None:
            return None
        try:
            job = await api.node.service.jobs.get(self.job_id)
        except NotFound:
            return None
        return self.checked(job, body)

    def checked(self, job: Job, body: BaseModel) -> Job:
        """Return a job that was made with this key. Raises ApiError (409) if by another request."""
        if self.key is not None and job.request_digest != self.digest_of(body):
            message = f"this Idempotency-Key has made {job.id} of another body; use a new key for each new request"
            raise ApiError(Problem(409, message, param="Idempotency-Key", code="idempotency_key_reused"))
        return job

    def _digest(self, what: str) -> str:
        return hashlib.sha256(f"{self.owner}\n{self.key}\n{what}".encode()).hexdigest()


async def _idempotency(
    caller: CurrentCaller,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=LONGEST_KEY,
            description="Repeating a request with the same key returns the job that the first one made.",
        ),
    ] = None,
) -> Idempotency:
    return Idempotency(caller.id, key)


Repeats = Annotated[Idempotency, Depends(_idempotency)]
