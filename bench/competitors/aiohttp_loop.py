"""aiohttp in an asyncio loop: the fastest of the usual clients. It runs in the environment of bench/requirements.txt."""

from typing import Any

import aiohttp  # type: ignore[import-not-found]
import orjson

from bench.competitors.loop import main

__all__: list[str] = []


class _Aiohttp:
    def __init__(self, url: str, in_flight: int) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight))
        self._url = f"{url}/chat/completions"
        self._headers = {"content-type": "application/json"}

    async def ask(self, body: dict[str, Any]) -> bytes:
        async with self._session.post(self._url, data=orjson.dumps(body), headers=self._headers) as response:
            response.raise_for_status()
            return await response.read()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        await self._session.close()


async def _connect(url: str, in_flight: int) -> _Aiohttp:
    return _Aiohttp(url, in_flight)


if __name__ == "__main__":
    main(_connect)
