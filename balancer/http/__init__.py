"""The HTTP client: requests to endpoints that can be aborted at any time.

`HttpClient` is the interface. `PooledClient` is what is used; `HttpxClient` stands in its place for an httpx transport that the
caller brings.
"""

from balancer.http.client import (
    MAX_ANSWER_BYTES,
    REQUEST_TIMEOUT,
    HttpAnswer,
    HttpClient,
    HttpStream,
    PreparedRequest,
    read_whole,
)
from balancer.http.errors import (
    AnswerTooLarge,
    ConnectFailed,
    ConnectionBroken,
    ConnectTimeout,
    HttpError,
    ProtocolError,
    RequestAborted,
    RequestTimeout,
)
from balancer.http.httpx_client import HttpxClient
from balancer.http.pool import PooledClient

__all__ = [
    "MAX_ANSWER_BYTES",
    "REQUEST_TIMEOUT",
    "AnswerTooLarge",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionBroken",
    "HttpAnswer",
    "HttpClient",
    "HttpError",
    "HttpStream",
    "HttpxClient",
    "PooledClient",
    "PreparedRequest",
    "ProtocolError",
    "RequestAborted",
    "RequestTimeout",
    "read_whole",
]
