"""`/docs`: Swagger UI without external resources, and `/`: the console for browsers, and for others what there is.

The pages are open to everybody; they hold nothing but what this project's documentation says. Swagger UI comes with
fastapi-offline.
"""

from importlib import resources

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from producer_api import console
from producer_api.http.rendering import JsonBytes

__all__ = ["ASSETS", "DOCS", "OPENAPI", "add_documentation"]

DOCS = "/docs"
ASSETS = "/docs/assets"
OPENAPI = "/openapi.json"
FIRST_STEPS = {
    "name": "Roadbalancer",
    "documentation": DOCS,
    "openapi": OPENAPI,
    "health": "/health",
    "chat": "/v1/chat/completions",
    "batches": "/v1/batches",
    "jobs": "/api/v1/jobs",
}


def add_documentation(app: FastAPI) -> None:
    """Add the pages to an app whose own are switched off."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def begin(request: Request) -> Response:
        """Show browsers the console, and tell others where what is."""
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(console.PAGE)
        return JsonBytes(FIRST_STEPS)

    @router.get(DOCS)
    async def docs() -> HTMLResponse:
        """Show Swagger UI."""
        return get_swagger_ui_html(
            openapi_url=OPENAPI,
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )

    app.include_router(router)
    app.mount(console.ASSETS, StaticFiles(directory=console.FOLDER), name="console")
    app.mount(ASSETS, StaticFiles(directory=str(resources.files("fastapi_offline") / "static")), name="documentation")
