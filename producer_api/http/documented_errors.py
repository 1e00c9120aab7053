"""What the OpenAPI pages say of errors: one meaning for each status, whichever route answers with it."""

from typing import Any

from producer_api.files.wire import ErrorEnvelope

__all__ = ["errors"]

_MEANINGS: dict[int | str, str] = {
    400: "The request is malformed, or asks for what can't be done; `param` names the field.",
    401: "There is no API key, or it is none of this server's.",
    403: "The key may not do this, or not use this model.",
    404: "What is asked about is not there, or no endpoint serves the model.",
    409: "It can't be done in the state that things are in now.",
    413: "The body, or the file in it, is too large.",
    422: "A field has a wrong value; `param` names it.",
    429: "Too much at once, for the key's limits or the fleet's; `Retry-After` says when to come back.",
    "4XX": "The endpoint refuses the request, with this status.",
    500: "Something went wrong here; the log tells more of the request's `x-request-id`.",
    502: "The endpoints could not be reached, failed, or gave no proper answer.",
    503: "Something behind the API is away or overloaded; `Retry-After` says when to come back.",
    504: "No endpoint answered in time.",
    507: "The object store is full.",
}


def errors(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route or router that answers with these statuses, beside its good ones."""
    return {status: {"model": ErrorEnvelope, "description": _MEANINGS[status]} for status in statuses}
