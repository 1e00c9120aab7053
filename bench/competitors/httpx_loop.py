"""httpx.AsyncClient in an asyncio loop."""

from typing import Any

import httpx

from bench.competitors.loop import main

__all__: list[str] = []


class _Httpx:
    def __init__(self, url: str, in_flight: int) -> None:
        limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        self._client = httpx.AsyncClient(limits=limits, timeout=60.0)
        self._url = f"{url}/chat/completions"

    async def ask(self, body: dict[str, Any]) -> bytes:
        return (await self._client.post(self._url, json=body)).raise_for_status().content

    async def aclose(self) -> None:
        await self._client.aclose()


async def _connect(url: str, in_flight: int) -> _Httpx:
    return _Httpx(url, in_flight)


if __name__ == "__main__":
    main(_connect)
