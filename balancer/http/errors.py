"""What can go wrong between a request and its answer. No message holds the request or the address."""

from balancer.errors import BalancerError

__all__ = [
    "AnswerTooLarge",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionBroken",
    "HttpError",
    "ProtocolError",
    "RequestAborted",
    "RequestTimeout",
]


class HttpError(BalancerError):
    """A request has no answer that could be used."""


class ConnectFailed(HttpError):
    """There is no connection: refused, unknown host, a certificate that does not hold."""


class ConnectTimeout(HttpError):
    """There was no connection in time."""

    def __init__(self) -> None:
        super().__init__("could not connect in time")


class RequestTimeout(HttpError):
    """The whole answer was not there within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"no whole answer within {seconds:g} s")


class ConnectionBroken(HttpError):
    """The connection ended before the answer did."""


class ProtocolError(HttpError):
    """What came, or what was to be sent, is no HTTP/1.1."""


class RequestAborted(HttpError):
    """The request was aborted with `HttpClient.abort`; the message says why."""


class AnswerTooLarge(HttpError):
    """An answer has more than `limit` bytes when it is unpacked; the rest was not read."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the answer is larger than {limit:,} bytes (`max_answer_bytes`)")
