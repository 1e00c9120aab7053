"""Models, the fleet, system information and metrics."""

import asyncio
from importlib.metadata import PackageNotFoundError

import httpx
import openai
import pytest
from live_server import Hands, batch_lines, create_batch, error_of, open_for_work, upload
from prometheus_client.parser import text_string_to_metric_families

from balancer.outcome import Failure, FailureKind, Outcome
from balancer.state import keys
from jobs.node import Node
from producer_api.system import machine


def test_models_are_listed_and_looked_up(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["m", "org/long-name"]
    found = sdk.models.retrieve("org/long-name")
    assert (found.id, found.object, found.owned_by) == ("org/long-name", "model", "openai")
    with pytest.raises(openai.NotFoundError) as refused:
        sdk.models.retrieve("org/other")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["%2e%2e/%2e%2e", "", "a" * 5000, "%00"])
def test_models_that_are_none_are_not_found(http: httpx.Client, model: str) -> None:
    response = http.get(f"/models/{model}")
    assert response.status_code == 404
    assert len(error_of(response)["message"]) < 1100


async def test_the_fleet_is_shown_as_all_processes_see_it(http: httpx.Client, node: Node) -> None:
    await open_for_work(node)
    await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(8))["id"]))
    node.fleet.health.record(Outcome("one", 0.5, status=200))
    node.fleet.health.record(Outcome("one", 0.5, failure=Failure(FailureKind.TIMEOUT, "slow")))
    await node.fleet.health._report()
    now_ms = 10**15
    await node.redis.hset(keys.slots("two"), mapping={"a": f"5:6:{now_ms}:3", "b": f"4:9:{now_ms}:4", "gone": "5:5:1000:5"})
    fleet = {entry["name"]: entry for entry in (await asyncio.to_thread(http.get, "/api/v1/endpoints")).json()["data"]}
    one, two = fleet["one"], fleet["two"]
    assert (one["url"], one["models"], one["provider"]) == ("http://127.0.0.1:9/v1", ["m", "org/long-name"], "openai")
    assert (one["latency"], one["ok"], one["failed"], one["last_error"]) == (0.5, 1, 1, "request_timeout: slow")
    assert (one["circuit"], one["usable"], one["max_concurrency"]) == ("closed", True, 32)
    assert (two["in_flight"], two["provider"], two["latency"], two["last_error"]) == (7, "vllm", None, None)
    assert one["open_lines"] + two["open_lines"] == 8
    assert one["queued"] + two["queued"] >= 1
    assert "secret" not in str(fleet)


async def test_the_system_tells_of_itself(http: httpx.Client, node: Node) -> None:
    await open_for_work(node)
    file = await asyncio.to_thread(upload, http, batch_lines(1))
    for _ in range(2):
        await asyncio.to_thread(create_batch, http, file["id"])
    info = (await asyncio.to_thread(http.get, "/api/v1/system/info")).json()
    assert info["jobs"] == {"in_progress": 2}
    assert info["workers"] == [{"process": "by-hand", "endpoints": ["one", "two"]}]
    assert (info["endpoints"], info["strategy"], info["redis"]["server"]) == (2, "weighted", "valkey")
    assert info["redis"]["used_memory"] > 0
    assert info["uptime"] >= 0
    assert info["version"] == info["versions"]["roadbalancer"]
    assert sum(info["queues"].values()) >= 1, "no worker takes them"
    assert info["machine"]["cpus"] >= 1 and info["machine"]["memory_total"] > info["machine"]["memory_available"] > 0
    assert info["process"]["memory"] > 10_000_000


def test_a_checkout_that_is_not_installed_has_no_version(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", missing)
    assert http.get("/api/v1/system/info").json()["version"] == "unknown"


async def test_a_worker_that_is_gone_is_not_counted(http: httpx.Client, node: Node) -> None:
    await open_for_work(node, seconds=-1)
    assert (await asyncio.to_thread(http.get, "/api/v1/system/info")).json()["workers"] == []


async def test_metrics_tell_of_jobs_and_endpoints(http: httpx.Client, node: Node) -> None:
    await open_for_work(node)
    job = await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(5))["id"]))
    ended = await asyncio.to_thread(lambda: create_batch(http, upload(http, batch_lines(5))["id"]))
    await asyncio.to_thread(http.post, f"/v1/batches/{ended['id']}/cancel")
    await Hands(node, job["id"]).finish([0, 1], failed=[2])
    response = await asyncio.to_thread(http.get, "/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert (found["roadbalancer_jobs", "in_progress"], found["roadbalancer_jobs", "cancelled"]) == (1, 1)
    lines = {key[2]: value for key, value in found.items() if key[0] == "roadbalancer_job_lines"}
    assert lines == {"completed": 2, "failed": 1, "open": 2}
    assert found["roadbalancer_endpoint_max_concurrency", "one"] == 32
    assert found["roadbalancer_endpoint_circuit", "one", "closed"] == 1
    assert found["roadbalancer_endpoint_circuit", "one", "open"] == 0
    assert found["roadbalancer_endpoint_in_flight", "two"] == 0
    assert found["roadbalancer_endpoint_requests_total", "two", "ok"] == 0
    assert found["roadbalancer_workers",] == 1
    assert ("roadbalancer_endpoint_latency_seconds", "one") not in found


def test_the_documentation_names_every_path_once(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    paths = set(schema["paths"])
    assert {"/v1/files", "/v1/batches/{batch_id}/cancel", "/v1/models/{model_id}", "/api/v1/jobs/{job_id}/results"} <= paths
    assert "/files" not in paths
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    assert all(operation.get("summary") for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
