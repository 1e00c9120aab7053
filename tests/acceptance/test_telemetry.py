"""OpenTelemetry: one trace from a client's request to the endpoint, and from a job's request to its lines, and metrics."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.acceptance.cluster import HTTP, Cluster, ended
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.receiver import Receiver
from tests.waiting import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "a prompt that stays here"


class Model(ProviderServer):
    """Keeps the `traceparent` of each request."""

    def __init__(self) -> None:
        super().__init__(FAKE_PROVIDERS["openai"])
        self.parents: list[str] = []

    def reply_to(self, path: str, headers: dict[str, str], body: bytes) -> Any:
        self.parents.append({name.lower(): value for name, value in headers.items()}.get("traceparent", ""))
        return super().reply_to(path, headers, body)


@pytest.fixture
def model(cluster: Cluster) -> Iterator[Model]:
    with Model() as server:
        endpoint = server.endpoint(name="m", models={"m": "m"})
        cluster.settings["endpoints"] = [{"name": "m", "url": endpoint.url, "models": ["m"], "api_key": endpoint.api_key}]
        yield server


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in of.attributes}


def spans_in(receiver: Receiver) -> list[Span]:
    requests = [ExportTraceServiceRequest.FromString(r.body) for r in receiver.received if r.path == "/v1/traces"]
    return [span for request in requests for resource in request.resource_spans for s in resource.scope_spans for span in s.spans]


async def test_requests_and_jobs_are_traced_to_the_endpoint(
    cluster: Cluster, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver(lambda n: 200) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        cluster.write_config()
        api, url = await cluster.start_api()
        worker = await cluster.start_worker()
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        body = {"model": "m", "messages": [{"role": "user", "content": SECRET}]}
        for fields in ({}, {"stream": True}):
            assert HTTP.post(f"{url}/v1/chat/completions", json=body | fields, headers=headers).status_code == 200
        made = HTTP.post(f"{url}/api/v1/jobs", json={"prompts": [SECRET, "two"], "model": "m"}, headers=headers).json()
        async with cluster.node() as node:
            await ended(node, await node.service.jobs.get(made["id"]))
        await until(lambda: len([s for s in spans_in(receiver) if s.name == "chat m"]) == 4, what="four calls")
        for process in (api, worker):
            process.kill(signal.SIGTERM)
        spans = spans_in(receiver)
        metrics = [ExportMetricsServiceRequest.FromString(r.body) for r in receiver.received if r.path == "/v1/metrics"]
        assert not any(SECRET.encode() in each.body for each in receiver.received)
    by_id = {span.span_id: span for span in spans}
    calls = [span for span in spans if span.name == "chat m"]
    assert {span.trace_id.hex() for span in calls} == {TRACE}
    parents = sorted(by_id[span.parent_span_id].name for span in calls)
    assert parents == ["POST /v1/chat/completions", "POST /v1/chat/completions", "shard m", "shard m"]
    servers = [span for span in spans if span.name == "POST /v1/chat/completions"]
    assert {span.parent_span_id.hex() for span in servers} == {PARENT}
    shard = next(span for span in spans if span.name == "shard m")
    assert by_id[shard.parent_span_id].name == "POST /api/v1/jobs"
    assert attributes(shard)["roadbalancer.job"] == made["id"]
    assert sorted(model.parents) == sorted(f"00-{TRACE}-{span.span_id.hex()}-01" for span in calls)
    said = attributes(calls[0])
    assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"], said["gen_ai.request.model"]) == ("chat", "openai", "m")
    assert said["gen_ai.usage.output_tokens"] > 0
    assert attributes(servers[0])["http.response.status_code"] == 200
    scopes = [scope for request in metrics for resource in request.resource_metrics for scope in resource.scope_metrics]
    assert {metric.name for scope in scopes for metric in scope.metrics} == {
        "http.server.request.duration",
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    }


async def test_without_the_variables_nothing_is_traced(cluster: Cluster, model: Model) -> None:
    cluster.write_config()
    _, url = await cluster.start_api()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert HTTP.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code == 200
    assert model.parents == [""]
