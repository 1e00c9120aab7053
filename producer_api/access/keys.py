"""Routes of API keys, for admins: create, change, rotate, revoke. A secret is shown once, in the answer that makes it."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from jobs.access import KeyRecord, KeyStore, Limits
from jobs.access.refusals import KeyNameTaken, NoSuchKey
from jobs.access.store import KeyOrder
from jobs.errors import InvalidRequest, NotFound
from jobs.upkeep.erasure import erase_key
from producer_api.context import Api, ApiContext
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(prefix="/keys", tags=["keys"], responses=errors(400, 401, 403, 404, 422, 500, 503))


class KeyLimits(BaseModel):
    """How much a key may do; null is without limit. Rates are per minute (`http_rpm`: requests of every kind), budgets USD per
    day and month (UTC). `retention` is for how many seconds files, ended jobs and responses are kept at most."""

    model_config = ConfigDict(extra="forbid")

    rpm: Annotated[int, Field(gt=0, le=10**9)] | None = None
    http_rpm: Annotated[int, Field(gt=0, le=10**9)] | None = None
    tpm: Annotated[int, Field(gt=0, le=10**12)] | None = None
    parallel: Annotated[int, Field(gt=0, le=10**6)] | None = None
    budget_day: Annotated[float, Field(gt=0, le=9_000_000)] | None = None
    budget_month: Annotated[float, Field(gt=0, le=9_000_000)] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] | None = None
    jobs: Annotated[int, Field(gt=0, le=10**6)] | None = None
    files: Annotated[int, Field(gt=0, le=10**6)] | None = None
    stored_bytes: Annotated[int, Field(gt=0, le=10**15)] | None = None
    retention: Annotated[int, Field(ge=60, le=10**9)] | None = None


class KeyCreate(BaseModel):
    """A new key. `lifetime` is in seconds, null for one that does not expire; `models` are those that it may ask for, empty for
    all."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100)]
    lifetime: Annotated[int, Field(gt=0, le=10**9)] | None = None
    models: list[str] = Field(default=[], max_length=1_000)
    limits: KeyLimits = KeyLimits()
    admin: bool = False


class KeyChange(BaseModel):
    """What is to be different; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    models: list[str] | None = Field(default=None, max_length=1_000)
    limits: KeyLimits | None = None


class KeyRotation(BaseModel):
    """For how many seconds the old secret goes on."""

    model_config = ConfigDict(extra="forbid")

    overlap: Annotated[int, Field(ge=0, le=30 * 86_400)] = 86_400


class KeyObject(BaseModel):
    """A key. Times are seconds since the epoch."""

    id: str
    object: str = "key"
    name: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    """To the minute; null for one that was not used."""
    models: list[str]
    limits: KeyLimits
    admin: bool
    revoked: bool

    @classmethod
    def of(cls, record: KeyRecord) -> "KeyObject":
        """Make it of a record."""
        return cls(**_fields(record))


class KeyWithSecret(KeyObject):
    """A key with its secret, which is shown this once only."""

    secret: str


class KeyDataDeleted(BaseModel):
    """How much of a key's data was deleted. `unfinished` jobs are cancelled, and still there with their inputs."""

    jobs: int
    files: int
    responses: int
    answers: int
    unfinished: int


class KeyList(BaseModel):
    """All keys, oldest first."""

    object: str = "list"
    data: list[KeyObject]


@router.get("", summary="List API keys")
async def list_keys(api: Api) -> KeyList:
    """Return all keys, revoked and expired ones too."""
    return KeyList(data=[KeyObject.of(record) for record in await _store(api).all()])


@router.post("", summary="Create an API key", status_code=201)
async def create_key(body: KeyCreate, api: Api) -> KeyWithSecret:
    """Create a key, and show its secret."""
    limits = Limits(**body.limits.model_dump())
    try:
        order = KeyOrder(body.name, body.lifetime, tuple(body.models), limits, body.admin)
        record, secret = await _store(api).create(order)
    except (KeyNameTaken, ValueError) as exc:
        raise InvalidRequest(str(exc), "name", "invalid_value") from exc
    return KeyWithSecret(**_fields(record), secret=secret)


@router.patch("/{key}", summary="Change what a key may do")
async def change_key(key: str, body: KeyChange, api: Api) -> KeyObject:
    """Change a key's limits or models; its secret stays. `key` is its id or its name."""
    limits = None if body.limits is None else Limits(**body.limits.model_dump())
    try:
        record = await _store(api).change(key, limits, body.models)
    except NoSuchKey as exc:
        raise NotFound("key", key) from exc
    for job_id in await api.node.service.jobs.unfinished_of(record.id):
        await api.node.service.jobs.refresh_pause(job_id)
    return KeyObject.of(record)


@router.post("/{key}/rotate", summary="Give a key another secret")
async def rotate_key(key: str, body: KeyRotation, api: Api) -> KeyWithSecret:
    """Show another secret for a key; the old one goes on for `overlap` seconds."""
    try:
        record, secret = await _store(api).rotate(key, body.overlap)
    except NoSuchKey as exc:
        raise NotFound("key", key) from exc
    return KeyWithSecret(**_fields(record), secret=secret)


@router.delete("/{key}", summary="Revoke a key", status_code=204)
async def revoke_key(key: str, api: Api) -> Response:
    """Revoke a key: every process refuses it within two seconds, and its jobs pause. What belongs to it stays."""
    try:
        await api.node.service.revoke_key(key)
    except NoSuchKey as exc:
        raise NotFound("key", key) from exc
    return Response(status_code=204)


@router.delete("/{key}/data", summary="Delete what belongs to a key")
async def delete_key_data(key: str, api: Api) -> KeyDataDeleted:
    """Cancel a key's unfinished jobs, and delete its files, ended jobs, stored responses and kept answers.

    Jobs that workers still have something of are `unfinished`: ask again until none is. The key itself, which may be revoked, and
    what it has used stay.
    """
    try:
        return KeyDataDeleted(**asdict(await erase_key(api.node, key)))
    except NoSuchKey as exc:
        raise NotFound("key", key) from exc


def _store(api: ApiContext) -> KeyStore:
    return KeyStore(api.node.redis)


def _fields(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "last_used_at": record.last_used_at,
        "models": list(record.models),
        "limits": KeyLimits(**asdict(record.limits)),
        "admin": record.admin,
        "revoked": record.revoked,
    }
