"""Descriptions of error statuses in the OpenAPI document."""

from typing import Any

from producer_api.files.wire import ErrorEnvelope

__all__ = ["errors"]

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


def errors(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route or router that answers with these statuses, beside its good ones."""
    return {status: {"model": ErrorEnvelope, "description": _MEANINGS[status]} for status in statuses}
