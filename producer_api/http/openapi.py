"""The OpenAPI document: introduction, authentication, and the errors of routes."""

from typing import Any

from fastapi import FastAPI

from producer_api.access.key_auth import OPEN_PATHS
from producer_api.files.wire import ErrorEnvelope

__all__ = ["describe", "errors"]

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
_MEANINGS: dict[int | str, str] = {
    400: "The request is malformed or can't be carried out; `param` names the field.",
    401: "Missing, invalid or expired API key.",
    403: "The key may not do this, or not use this model.",
    404: "Not found, or no endpoint serves the model.",
    409: "Not possible in the current state.",
    413: "The body, or the file in it, is too large.",
    422: "A field has a wrong value; `param` names it.",
    429: "Too many requests for the key's limits or for the fleet; `Retry-After` says when to try again.",
    "4XX": "The endpoint refuses the request, with this status.",
    500: "Internal error; the log has more under the request's `x-request-id`.",
    502: "The endpoints could not be reached, failed, or answered with something invalid.",
    503: "Redis, the store or the endpoints are unavailable or overloaded; `Retry-After` says when to try again.",
    504: "No endpoint answered in time.",
    507: "The object store is full.",
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


def errors(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route or router that answers with these statuses, beside its good ones."""
    return {status: {"model": ErrorEnvelope, "description": _MEANINGS[status]} for status in statuses}
