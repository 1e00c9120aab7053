"""Closes the connection of a request that is cancelled while TLS is negotiated.

httpcore 1.0 closes it where the negotiation fails, but not where the task is cancelled within it, as `asyncio.timeout` does: the
socket would stay open until the garbage collector finds it.
"""

from typing import Any

import httpx

__all__ = ["ClosingTransport"]


class ClosingTransport(httpx.AsyncHTTPTransport):
    """For clients whose requests may be cancelled: `httpx.AsyncClient(transport=ClosingTransport(verify=...))`."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises httpx.HTTPError.

        The extension `trace` says which connection was opened for it (python-httpx.org/advanced/extensions, "trace").
        """
        opened: list[Any] = []

        async def trace(event: str, info: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(info["return_value"])

        request.extensions = {**request.extensions, "trace": trace}
        try:
            return await super().handle_async_request(request)
        except BaseException:
            for stream in opened:
                await stream.aclose()
            raise
