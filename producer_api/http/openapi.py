"""The OpenAPI document: introduction, authentication, tags."""

from typing import Any

from fastapi import FastAPI

from producer_api.access.key_auth import OPEN_PATHS

__all__ = ["describe"]

DESCRIPTION = """
Bulk LLM generation over a fleet of endpoints, and one door to the same fleet for interactive use.

- **chat**: OpenAI's chat completions and responses, and a chat API that takes a whole conversation in one request.
- **files**, **batches**, **models**: OpenAI's, so that its SDKs work with nothing but another `base_url`.
- **jobs**: bulk jobs with their requests in the body, partial results, progress events, and a cap on their cost.
- **system**: the fleet, usage and cost, health.

As soon as the server has an API key, requests want one: `Authorization: Bearer <key>`. What a key makes, no other key can see;
routes that tell of everybody's work want an admin's.

Every error has one envelope: `{"error": {"message", "type", "param", "code"}}`.
"""
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {}]
"""A key, or none where the server has none."""
SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this server: `roadbalancer keys create NAME`, or one of `ROADBALANCER_API_KEYS`.",
    }
}


def describe(app: FastAPI) -> None:
    """Complete the app's OpenAPI document, when it is first asked for."""
    app.description = DESCRIPTION
    make = app.openapi

    def complete() -> dict[str, Any]:
        known = app.openapi_schema is not None
        document = make()
        if not known:
            document.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN_PATHS else SECURITY
        return document

    app.openapi = complete  # type: ignore[method-assign]
