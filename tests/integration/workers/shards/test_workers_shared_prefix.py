"""What lines share with their neighbours is marked for Anthropic's cache."""

import orjson
import pytest
from worker_bench import Worker

from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from workers.shards.run_context import Ending

DOCUMENTS = "aabccc"


def line(number: int, document: str) -> bytes:
    messages = [{"role": "system", "content": document * 100}, {"role": "user", "content": f"question {number}"}]
    body = {"model": "m", "max_tokens": 10, "messages": messages}
    return orjson.dumps({"custom_id": f"c{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}) + b"\n"


@pytest.mark.parametrize(("cache", "marked"), [(True, "aaccc"), (False, "")])
async def test_lines_that_begin_like_their_neighbour_are_marked(worker: Worker, cache: bool, marked: str) -> None:
    with ProviderServer(FAKE_PROVIDERS["anthropic"]) as server:
        await worker.start(server.endpoint(name="a", models={"m": "m"}, cache=cache))
        job, shard = await worker.shard_of([line(*each) for each in enumerate(DOCUMENTS)])
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
    script = [orjson.loads(body)["system"] for body in server.bodies]
    found = [part["text"][0] for parts in script if isinstance(parts, list) for part in parts if "cache_control" in part]
    assert "".join(sorted(found)) == marked
    assert not server.refused and len(script) == len(DOCUMENTS)
