"""The OpenAI SDK in an asyncio loop, for chats and for embeddings."""

from typing import Any

from openai import AsyncOpenAI

from bench.competitors.loop import main

__all__: list[str] = []


class _Sdk:
    def __init__(self, url: str) -> None:
        self._client = AsyncOpenAI(base_url=url, api_key="none")

    async def ask(self, body: dict[str, Any]) -> bytes:
        create = self._client.embeddings.create if "input" in body else self._client.chat.completions.create
        answer = await create(**body)
        return answer.model_dump_json().encode()  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        await self._client.close()


async def _connect(url: str, in_flight: int) -> _Sdk:
    return _Sdk(url)


if __name__ == "__main__":
    main(_connect)
