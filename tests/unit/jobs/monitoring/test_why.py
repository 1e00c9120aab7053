"""What a job is said to wait for."""

from dataclasses import replace
from typing import Any

import pytest

from balancer.state.concurrency import Limit
from balancer.state.health import Circuit, Health
from jobs.monitoring.overview import EndpointState
from jobs.monitoring.why import Facts, why
from jobs.records import Job, Ledger
from jobs.records.states import JobStatus, PauseReason
from jobs.records.waiting import Waiting

JOB = Job("j", JobStatus.IN_PROGRESS, "f", "/v1/chat/completions", "24h", 0, 90_000, Ledger(100, 40, 0), models=("m",))
WELL = EndpointState("a", Health(), in_flight=3, limit=Limit(32), open_lines=3, queued=0)
FACTS = Facts((WELL,), frozenset("a"), given=2, before=(), now=1_000.0)


def state(**health: Any) -> EndpointState:
    return replace(WELL, health=Health(**health))


@pytest.mark.parametrize(
    ("job", "facts", "said"),
    [
        ({}, {}, "40 of 100 lines are finished, 60 are left. Its lines are being sent."),
        ({"status": JobStatus.COMPLETED}, {}, "The job is completed"),
        ({"status": JobStatus.CANCELLING, "ending": "cancelled"}, {}, "cancelled: 60 lines are not finished"),
        ({"status": JobStatus.FINALIZING, "ending": "expired"}, {}, "at the end of its window"),
        ({"status": JobStatus.FINALIZING}, {}, "being put together"),
        ({"paused": PauseReason.HELD}, {}, "roadbalancer resume"),
        ({"paused": PauseReason.MAX_COST, "max_cost": 2.5}, {}, "cap of 2.5 USD"),
        ({"paused": PauseReason.CANARY, "canary": 7}, {}, "canary of 7 requests"),
        ({"paused": PauseReason.KEY_BUDGET}, {}, "its key has spent its budget"),
        ({"paused": PauseReason.KEY_REVOKED}, {}, "revoked"),
        ({"waiting": Waiting("a fails", 1_030.0)}, {}, "It is waiting because a fails. The next attempt is in 30 s."),
        ({}, {"serving": ()}, "No endpoint serves m."),
        ({"endpoints": ("x",)}, {"serving": ()}, "No endpoint among x serves m."),
        ({}, {"worked_for": frozenset()}, "No worker is running that serves a."),
        ({}, {"serving": (state(circuit=Circuit.OPEN, last_error="refused"),)}, "can be used: a fails (refused)."),
        ({}, {"serving": (replace(WELL, draining=True),)}, "a is being drained"),
        ({}, {"serving": (state(limited_for=12.0),)}, "a is limited for 12 s"),
        ({}, {"serving": (replace(WELL, in_flight=30),)}, "bottleneck: a has 30 of 32 requests in flight"),
        ({}, {"given": 0, "before": ("k",)}, "Jobs of a higher priority go first: k."),
        ({}, {"given": 0, "before": tuple("klmno")}, "first: k, l, m and 2 more."),
        ({"max_cost": 1.0, "ledger": Ledger(100, 0, 0)}, {}, "until it is known what a line costs"),
        ({"key_rpm": 60, "key_tpm": 9_000}, {}, "60 requests and 9,000 tokens a minute"),
        ({"late_at": 90_060}, {}, "done 60 s after the end of its window"),
        ({"is_urgent": True}, {}, "short of time"),
    ],
)  # fmt: skip
def test_what_it_waits_for(job: dict[str, Any], facts: dict[str, Any], said: str) -> None:
    assert said in why(replace(JOB, **job), replace(FACTS, **facts))
