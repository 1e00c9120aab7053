"""Routes without a router: answered alike, with the app's handlers for what goes wrong."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.responses import PlainTextResponse, Response

from producer_api.http.direct_routes import DirectRoutes


class Refused(Exception):
    """A route's own exception."""


class RefusedMore(Refused):
    """One that has no handler of its own."""


async def direct(request: Request) -> Response:
    kind = request.query_params.get("raise", "")
    raised: dict[str, Exception] = {
        "refused": Refused(),
        "more": RefusedMore(),
        "status": HTTPException(418),
        "other": HTTPException(409, "no"),
        "bug": ZeroDivisionError("unforeseen"),
    }
    if kind:
        raise raised[kind]
    return PlainTextResponse(f"direct {(await request.body()).decode()}")


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = FastAPI(redirect_slashes=False)

    @app.api_route("/both", methods=["GET", "POST"])
    @app.api_route("/other", methods=["POST"])
    async def routed() -> str:
        return "routed"

    async def answer(status: int, text: str) -> Response:
        return PlainTextResponse(text, status)

    async def on_refused(_: Request, exc: Exception) -> Response:
        return await answer(403, type(exc).__name__)

    async def on_teapot(_: Request, exc: Exception) -> Response:
        return await answer(418, "by status")

    app.add_exception_handler(Refused, on_refused)
    app.add_exception_handler(418, on_teapot)
    app.add_middleware(DirectRoutes, handlers={"/both": direct})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_a_path_is_answered_by_its_handler_and_others_by_the_app(client: httpx.AsyncClient) -> None:
    assert (await client.post("/both", content=b"body")).text == "direct body"
    assert (await client.get("/both")).json() == "routed"
    assert (await client.post("/other")).json() == "routed"
    assert (await client.post("/both/")).status_code == 404


@pytest.mark.parametrize(
    ("raised", "answer"),
    [
        ("refused", (403, "Refused")),
        ("more", (403, "RefusedMore")),
        ("status", (418, "by status")),
        ("other", (409, '{"detail":"no"}')),
    ],
)
async def test_exceptions_have_the_apps_handlers(client: httpx.AsyncClient, raised: str, answer: tuple[int, str]) -> None:
    found = await client.post("/both", params={"raise": raised})
    assert (found.status_code, found.text) == answer


async def test_what_has_no_handler_is_raised(client: httpx.AsyncClient) -> None:
    with pytest.raises(ZeroDivisionError, match="unforeseen"):
        await client.post("/both", params={"raise": "bug"})


async def test_other_scopes_pass() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await DirectRoutes(app, {})({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
