"""Lines of a job whose key has limits do not choose where they go."""

from dataclasses import replace

import orjson
import pytest
from worker_bench import Worker

from jobs.access import Caller, Limits
from jobs.access.record import KeyRecord
from jobs.intake.files import Upload
from jobs.records import Job
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.job_bench import in_chunks, input_line, new_job
from workers.shards.run_context import Ending

FREE = Caller.of(KeyRecord("key_1", "free", "digest", 0))
LIMITED = Caller.of(KeyRecord("key_1", "limited", "digest", 0, limits=Limits(budget_day=1.0)))
SELECTED = Caller.of(KeyRecord("key_1", "selected", "digest", 0, models=("m",)))


async def job_of(worker: Worker, caller: Caller) -> Job:
    entry = orjson.loads(input_line(0))
    entry["body"] |= {"model": "m", "service_tier": "priority"}
    record = await worker.bench.files.add(Upload("in.jsonl"), in_chunks(orjson.dumps(entry) + b"\n"))
    new = new_job(worker.bench.job_id(), record)
    return await worker.bench.jobs.open(replace(new, request=replace(new.request, caller=caller)))


@pytest.mark.parametrize(
    ("caller", "tier"), [(FREE, "priority"), (LIMITED, None), (SELECTED, None)], ids=["free", "limited", "selected"]
)
async def test_a_line_keeps_its_class_only_if_its_key_has_no_limits(worker: Worker, caller: Caller, tier: str | None) -> None:
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        await worker.start(server.endpoint(name="a", models={"m": "m"}))
        job = await job_of(worker, caller)
        shard = await worker.bench.claim(await worker.bench.cut(job, 0, 1))
        assert (await worker.run(job, shard).run()).ending is Ending.LAST
        assert [received.service_tier for received in server.received] == [tier]
