"""Real vLLM servers: VLLM_URLS has their addresses, VLLM_PIDS the ids of their processes if they run on this machine."""

import os
import re
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx
import orjson

from jobs.intake.files import Upload
from jobs.node import Node
from jobs.records import Job
from jobs.service import JobRequest
from tests.acceptance.cluster import CHAT

URLS = [url for url in os.environ.get("VLLM_URLS", "").split(",") if url]
PIDS = [int(pid) for pid in os.environ.get("VLLM_PIDS", "").split(",") if pid]


async def submit(node: Node, bodies: Iterable[dict[str, object]]) -> tuple[Job, list[str]]:
    lines = [{"custom_id": f"r{n}", "method": "POST", "url": CHAT, "body": body} for n, body in enumerate(bodies)]

    async def chunks() -> AsyncIterator[bytes]:
        yield b"\n".join(map(orjson.dumps, lines))

    file = await node.service.files.add(Upload("in.jsonl"), chunks())
    assert not file.errors
    return await node.service.submit(JobRequest(file.id, CHAT)), [str(line["custom_id"]) for line in lines]


def model() -> str:
    name: str = httpx.get(f"{URLS[0]}/models").json()["data"][0]["id"]
    return name


def stories(count: int, tokens: int) -> Iterator[dict[str, object]]:
    """Requests with answers of so many tokens."""
    name = model()
    for number in range(count):
        messages = [{"role": "user", "content": f"Tell story number {number}."}]
        yield {"model": name, "messages": messages, "max_tokens": tokens, "ignore_eos": True}


def total(name: str, urls: Iterable[str] = URLS) -> float:
    """Return the sum of a metric of the servers."""
    texts = [httpx.get(url.removesuffix("/v1") + "/metrics").text for url in urls]
    return sum(float(value) for text in texts for value in re.findall(rf"^vllm:{name}{{\S* (\S+)", text, re.MULTILINE))
