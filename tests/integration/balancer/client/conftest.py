"""Conditions for tests of the load balancers."""

import pytest

from balancer.state.health import HealthPolicy
from balancer.state.health import local as local_health
from balancer.state.health import shared as shared_health


@pytest.fixture
def quick_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Circuits that open after two failures, for 0.2 s."""

    def policy() -> HealthPolicy:
        return HealthPolicy(failures_to_open=2, connection_weight=2, first_open=0.2, longest_open=0.2, refresh_every=0.02)

    monkeypatch.setattr(local_health, "HealthPolicy", policy)
    monkeypatch.setattr(shared_health, "HealthPolicy", policy)
