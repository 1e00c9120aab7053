"""Runs Lua scripts in Redis, from the files that lie beside their callers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from balancer.state.redis_connection import AsyncRedis

__all__ = ["Call", "Scripts"]

_INCLUDE = re.compile(r"^-- include (\w+)$", re.MULTILINE)
Argument = str | int | float | bytes
Call = tuple[str, Sequence[str], Sequence[Argument]]
"""A script's name, its keys and its arguments."""


class Scripts:
    """The Lua scripts of some folders on one Redis. A server that has lost them (a restart) is given them again.

    Where a script says `-- include NAME`, that file stands in it.
    """

    def __init__(self, redis: AsyncRedis, *folders: Path) -> None:
        self.redis = redis
        self._files = {file.stem: file for folder in folders for file in folder.glob("*.lua")}
        self._digests: dict[str, str] = {}

    async def run(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run one script and return its answer."""
        digest = self._digests.get(name) or await self._load(name)
        try:
            return await self.redis.evalsha(digest, len(keys), *keys, *args)
        except NoScriptError:
            return await self.redis.evalsha(await self._load(name), len(keys), *keys, *args)

    async def run_many(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts in one round trip, in no certain order, and return their answers. Raises the first error among
        them; the others have run all the same."""
        for name in {name for name, _, _ in calls} - self._digests.keys():
            await self._load(name)
        answers = await self._pipeline(calls)
        lost = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if lost:
            for name in {calls[i][0] for i in lost}:
                await self._load(name)
            for i, answer in zip(lost, await self._pipeline([calls[i] for i in lost]), strict=True):
                answers[i] = answer
        for answer in answers:
            if isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _pipeline(self, calls: Sequence[Call]) -> list[Any]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for name, keys, args in calls:
                pipe.evalsha(self._digests[name], len(keys), *keys, *args)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers

    def _source(self, name: str) -> str:
        source = self._files[name].read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda match: self._source(match[1]), source)

    async def _load(self, name: str) -> str:
        digest: str = await self.redis.script_load(self._source(name))
        self._digests[name] = digest
        return digest
