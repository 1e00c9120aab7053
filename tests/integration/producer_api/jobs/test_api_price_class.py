"""The price class of a job over HTTP."""

from dataclasses import replace

import httpx
import pytest
from live_server import PATIENCE_S, LiveServer, StartServer, batch_lines, create_batch, error_of, upload

from balancer.configuration import Configuration


@pytest.fixture
def server(start: StartServer, configuration: Configuration) -> LiveServer:
    """A server with one endpoint that is in flex."""
    first, *others = configuration.endpoints
    return start(endpoints=(replace(first, price_class="flex"), *others))


@pytest.mark.parametrize("price_class", ["flex", "standard"])
def test_a_job_keeps_its_class(http: httpx.Client, price_class: str) -> None:
    job = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m", "price_class": price_class}).raise_for_status().json()
    assert job["price_class"] == price_class
    assert http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m"}).json()["price_class"] is None


def test_a_batch_has_one_too(http: httpx.Client) -> None:
    batch = create_batch(http, upload(http, batch_lines(2))["id"], price_class="flex")
    assert http.get(f"/api/v1/jobs/{batch['id']}").json()["price_class"] == "flex"


def test_what_is_no_class_is_refused(http: httpx.Client) -> None:
    refused = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m", "price_class": "free"})
    assert (refused.status_code, error_of(refused)["param"]) == (422, "price_class")


def test_batches_are_refused_where_no_endpoint_has_them(http: httpx.Client) -> None:
    refused = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m", "price_class": "batch"})
    assert (refused.status_code, error_of(refused)["param"]) == (400, "price_class")
    assert error_of(refused)["message"] == "no endpoint that serves m has `batch: true`"


def test_flex_is_refused_where_no_endpoint_has_it(start: StartServer) -> None:
    with httpx.Client(base_url=start().url, trust_env=False, timeout=PATIENCE_S) as http:
        refused = http.post("/api/v1/jobs", json={"prompts": ["a"], "model": "m", "price_class": "flex"})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "price_class")
        assert "no endpoint that serves these models has flex processing" in error_of(refused)["message"]
        assert http.get("/v1/files").json()["data"] == []
