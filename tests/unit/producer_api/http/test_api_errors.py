import errno
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from obstore.exceptions import GenericError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from balancer.errors import SharedStateUnavailable
from jobs.errors import InvalidRequest, LedgerBroken, NotFound, NotReady
from producer_api.http.errors import MAX_MESSAGE, add_error_handlers
from producer_api.http.request_id import RequestId

SECRET = "sk-secret"


async def answer_to(error: Exception) -> httpx.Response:
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestId)

    @app.get("/")
    async def fail() -> None:
        raise error

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        return await client.get("/")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidRequest("no", "field", "kind"), 400, "kind"),
        (NotFound("file", "x" * 10_000), 404, "not_found"),
        (NotReady("later"), 409, "not_ready"),
        (RedisConnectionError(f"redis://:{SECRET}@host refused"), 503, "redis_unavailable"),
        (OutOfMemoryError("command not allowed"), 503, "redis_unavailable"),
        (SharedStateUnavailable(f"redis://:{SECRET}@host", "refused"), 503, "redis_unavailable"),
        (OSError(errno.ENOSPC, "No space left on device"), 507, "insufficient_storage"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 507, "insufficient_storage"),
        (GenericError("Unable to copy data to file: No space left on device (os error 28)\nmore"), 507, "insufficient_storage"),
        (GenericError(f"Error performing PUT https://{SECRET}.example"), 503, "object_store_unavailable"),
        (PermissionError(errno.EACCES, "Permission denied", f"/{SECRET}"), 503, "object_store_unavailable"),
        (FileNotFoundError(f"/{SECRET}"), 404, "content_not_found"),
        (LedgerBroken(SECRET), 500, None),
        (KeyError(SECRET), 500, None),
        (ValueError(f"prompt {SECRET}"), 500, None),
    ],
)
async def test_every_error_has_its_status_and_gives_nothing_away(error: Exception, status: int, code: str | None) -> None:
    response = await answer_to(error)
    body = response.json()["error"]
    assert (response.status_code, body["code"]) == (status, code)
    assert set(body) == {"message", "type", "param", "code"}
    assert len(body["message"]) <= MAX_MESSAGE + 2
    assert SECRET not in response.text
    assert response.headers["x-request-id"]
    assert ("retry-after" in response.headers) == (status == 503)


async def test_an_unexpected_error_is_in_the_log_under_its_request(caplog: pytest.LogCaptureFixture) -> None:
    response = await answer_to(KeyError("inside"))
    request_id = response.headers["x-request-id"]
    assert request_id in response.json()["error"]["message"]
    assert request_id in caplog.text
    assert "inside" in caplog.text


async def test_a_stream_that_breaks_is_not_ended_well(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    app.add_middleware(RequestId)

    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("inside")

    @app.get("/")
    async def stream() -> StreamingResponse:
        return StreamingResponse(half())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        with pytest.raises(KeyError):
            await client.get("/")


async def test_a_client_that_went_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def gone(scope: object, receive: object, send: object) -> None:
        raise ClientDisconnect

    async def unused(*_: object) -> None:
        raise AssertionError("the client has gone")

    with caplog.at_level(logging.WARNING):
        await RequestId(gone)({"type": "http", "method": "GET", "path": "/", "headers": []}, unused, unused)  # type: ignore[arg-type]
    assert caplog.text == ""
