"""A fleet that is found in files, while a job runs: endpoints come and vanish, and no line fails for it."""

import yaml

from jobs.node import Node
from tests.acceptance.cluster import Cluster, ModelServer, check_each_once, ended, submit
from tests.waiting import until

LINES = 1_500


def count(server: ModelServer) -> int:
    return server.seen().total()


async def test_endpoints_that_come_and_vanish_cost_no_line(cluster: Cluster) -> None:
    first, second = [await cluster.start_model(name, latency=0.1) for name in ("first", "second")]
    entries = cluster.settings.pop("endpoints")
    folder = cluster.folder / "endpoints.d"
    folder.mkdir()

    def put(number: int) -> None:
        entry = {**entries[number], "max_concurrency": 16}
        (folder / f"{entry['name']}.yaml").write_text(yaml.safe_dump(entry))

    cluster.write_config(hedge={"max": 0}, discover={"file": str(folder / "*.yaml"), "endpoint": {"models": ["simulated"]}})
    await cluster.start_worker()
    put(0)
    ids = [f"line-{number}" for number in range(LINES)]
    async with cluster.node() as node:

        async def served() -> bool:
            return await names(node) == {"first"}

        await until(served, what="the first endpoint to be found")
        job = await submit(node, ids)
        await until(lambda: count(first) > 100, what="the first endpoint to work")
        put(1)
        await until(lambda: count(second) > 100, what="the second one to be found and to work")
        (folder / "first.yaml").unlink()

        async def left() -> bool:
            return await names(node) == {"second"}

        await until(left, what="the first one to be drained, and removed")
        at_the_end = count(first)
        job = await ended(node, job, 60)
        _, errors = await check_each_once(node, job, ids)
        assert not errors and job.status == "completed"
    assert count(first) == at_the_end < LINES
    sent = first.seen() + second.seen()
    assert {name: sent[name] for name in sent if sent[name] > 1 or name not in ids} == {}, "nothing was sent again"


async def names(node: Node) -> set[str]:
    await node.follower.look()
    return set(node.fleet.endpoints)
