"""Large answers at full size: memory stays within its bounds."""

import psutil

from tests.acceptance.cluster import Cluster, check_each_once, submit
from tests.waiting import until

MB = 1024 * 1024


async def test_large_answers_2_000_of_1_mb_with_32_slots(cluster: Cluster) -> None:
    await cluster.start_model("m", {"max_concurrency": 32}, latency=0.2, answer_bytes=MB)
    cluster.write_config()
    workers = [await cluster.start_worker() for _ in range(2)]
    assert cluster.redis_process
    watched = {"redis": cluster.redis_process.pid, **{f"worker {n}": worker.pid for n, worker in enumerate(workers)}}
    largest = dict.fromkeys(watched, 0)
    names = [f"r{number}" for number in range(2000)]
    async with cluster.node() as node:
        job = await submit(node, names)

        async def final() -> bool:
            for name, pid in watched.items():
                largest[name] = max(largest[name], psutil.Process(pid).memory_info().rss)
            return (await node.service.jobs.get(job.id)).is_final

        await until(final, 300, "the job's end")
        job = await node.service.jobs.get(job.id)
        print({name: f"{size // MB} MB" for name, size in largest.items()})
        await check_each_once(node, job, names)
    assert largest["redis"] < 300 * MB
    assert max(largest["worker 0"], largest["worker 1"]) < 450 * MB
