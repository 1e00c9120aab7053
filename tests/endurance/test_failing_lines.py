"""What twenty lines that always fail cost another job, at full size."""

import time

import pytest

from tests.acceptance.cluster import Cluster, ended, submit
from tests.acceptance.test_fairness import ids, start

BAD, MIXED, HEALTHY = 20, 1500, 1000


@pytest.mark.parametrize("spread", [False, True], ids=["together", "spread"])
async def test_failing_lines_cost_another_job_a_tenth_at_most(cluster: Cluster, spread: bool) -> None:
    model = await start(cluster, slots=32, latency=0.2)
    every = MIXED // BAD
    seconds: dict[str, float] = {}
    async with cluster.node() as node:
        for kind in ("ok", "bad"):
            model.behave(break_custom=["bad-0", *(f"bad-{n}" for n in range(1, BAD))])
            names = ids(f"{kind}-ok", MIXED)
            for number in range(BAD):
                names[number * every if spread else number] = f"{kind}-{number}"
            started_at = time.monotonic()
            mixed = await submit(node, names)
            healthy = await ended(node, await submit(node, ids(f"{kind}-healthy", HEALTHY)), 120)
            seconds[kind] = time.monotonic() - started_at
            assert healthy.ledger.done == HEALTHY
            mixed = await ended(node, mixed, 120)
            if kind == "bad":
                lasted = time.monotonic() - started_at
                assert mixed.ledger.failed == BAD
    print(f"healthy job: {seconds['ok']:.1f} s beside a healthy one, {seconds['bad']:.1f} s beside one with {BAD} bad lines, "
          f"which ended after {lasted:.1f} s")  # fmt: skip
    assert seconds["bad"] < seconds["ok"] / 0.9
    assert lasted < 60
