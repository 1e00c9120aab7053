"""What is changed in the fleet when a source finds other endpoints."""

from typing import Any

import pytest

from balancer.configuration.changes import EndpointChange
from jobs.fleet.discoverer import changes_for

A = {"url": "http://10.0.0.1:8000/v1", "name": "a"}
OURS = EndpointChange(A, source="dns:gpus", found=A)


@pytest.mark.parametrize(
    ("found", "before", "changes"),
    [
        # A new one is added, and a known one left alone.
        ({"a": A}, {}, {"a": OURS}),
        ({"a": A}, {"a": OURS}, {}),
        # One that is gone is drained, once.
        ({}, {"a": OURS}, {"a": EndpointChange(A, True, False, True, "dns:gpus", A)}),
        ({}, {"a": EndpointChange(A, True, False, True, "dns:gpus", A)}, {}),
        # One that is back before it was removed is used again.
        ({"a": A}, {"a": EndpointChange(A, True, False, True, "dns:gpus", A)}, {"a": OURS}),
        # An endpoint that was drained by hand stays drained.
        ({"a": A}, {"a": EndpointChange(A, True, source="dns:gpus", found=A)}, {}),
        # What was set by hand stays when what is found changes.
        (
            {"a": {**A, "models": ["m"]}},
            {"a": EndpointChange({**A, "weight": 3}, source="dns:gpus", found=A)},
            {"a": EndpointChange({**A, "models": ["m"], "weight": 3}, source="dns:gpus", found={**A, "models": ["m"]})},
        ),
        # Endpoints of another source, or added by hand, are left alone.
        ({"a": A}, {"a": EndpointChange({"url": "http://other"})}, {}),
        ({}, {"a": EndpointChange(A, source="file:x", found=A), "b": EndpointChange({"weight": 2})}, {}),
    ],
)
def test_the_fleet_follows_what_is_found(
    found: dict[str, Any], before: dict[str, EndpointChange], changes: dict[str, EndpointChange]
) -> None:
    assert changes_for("dns:gpus", found, before) == changes
