"""vLLM beside OpenAI: its queue, its health, and the requests that it would take but not follow."""

import logging
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer import AsyncLoadBalancer
from balancer.endpoint import Endpoint
from balancer.fleet.fleet import Fleet
from balancer.outcome import FailureKind
from balancer.providers import RequestRefused
from balancer.providers.openai.adapter import OpenAIAdapter
from balancer.providers.openai.vllm import VLLMAdapter
from tests.fake_providers.fake_vllm import METRICS

ADAPTER = VLLMAdapter()
ENDPOINT = Endpoint("http://gpu:8000/v1", name="gpu", provider="vllm")


@pytest.mark.parametrize(
    ("metrics", "load"),
    [
        (METRICS, 4.0),  # both engines, and nothing of the metric whose name begins like it
        ("vllm:num_requests_waiting 2\n", 2.0),  # no labels
        ('vllm:num_requests_waiting{model_name="a } b"} 3.0\r\n', 3.0),
        ('vllm:num_requests_waiting{engine="0"} 3.0 1795213773000\n', 3.0),  # with the time of the sample
        ('vllm:num_requests_waiting{engine="0"} 0.0', 0.0),
        ('vllm:num_requests_waiting_by_reason{reason="capacity"} 2.0\n', None),
        ("# TYPE vllm:num_requests_waiting gauge\n", None),
        ("vllm:num_requests_waiting NaN\n", None),
        ("vllm:num_requests_waiting +Inf\n", None),
        ("vllm:num_requests_waiting -1\n", None),
        ("vllm:num_requests_waiting many\n", None),
        ("vllm:num_requests_waiting 1\nvllm:num_requests_waiting NaN\n", None),  # half of it would mislead
        ("<html>busy</html>", None),
        ("", None),
    ],
)
def test_how_much_waits(metrics: str, load: float | None) -> None:
    assert ADAPTER.load(metrics.encode()).waiting == load


@pytest.mark.parametrize(
    ("metrics", "share"),
    [
        ('vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.97\n', 0.97),  # the fullest counts
        ("vllm:gpu_cache_usage_perc 0.5\n", 0.5),
        ("vllm:kv_cache_usage_perc NaN\n", None),
        ("", None),
    ],
)
def test_how_much_of_its_memory_is_in_use(metrics: str, share: float | None) -> None:
    assert ADAPTER.load(metrics.encode()).memory == share


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=80).map(lambda tail: b"vllm:num_requests_waiting" + tail))
def test_any_metrics_are_a_sensible_number_or_none(metrics: bytes) -> None:
    load = ADAPTER.load(metrics).waiting
    assert load is None or 0 <= load < float("inf")


@pytest.mark.parametrize("name", ["guided_json", "guided_regex", "guided_choice", "guided_grammar"])
def test_a_field_that_would_be_ignored_is_refused_with_what_to_use_instead(name: str) -> None:
    with pytest.raises(RequestRefused, match=r"structured_outputs.*response_format") as refused:
        ADAPTER.call(ENDPOINT, "/chat/completions", {"model": "m", "messages": [], name: ["a"]})
    assert refused.value.param == name
    assert ADAPTER.call(ENDPOINT, "/chat/completions", {"model": "m", "messages": [], name: None})


@pytest.mark.parametrize("kind", ["file", "document"])
def test_a_document_is_refused_so_that_another_endpoint_is_tried(kind: str) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind}]}]
    with pytest.raises(RequestRefused) as refused:
        ADAPTER.call(ENDPOINT, "/chat/completions", {"model": "m", "messages": messages})
    assert refused.value.param == f"messages[1].content[1].{kind}"


@pytest.mark.parametrize("messages", [None, 5, [None, 5], [{"content": [None, "x", {"type": []}]}]])
def test_odd_messages_are_left_to_the_server(messages: Any) -> None:
    body = {"model": "m", "messages": messages, "top_k": 5, "structured_outputs": {"choice": ["a"]}}
    assert orjson.loads(ADAPTER.call(ENDPOINT, "/chat/completions", body).body) == body


MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "max_model_len": 8}]}
WELL = {
    "/health": httpx.Response(200),
    "/v1/models": httpx.Response(200, json=MODELS),
    "/metrics": httpx.Response(200, text=METRICS),
}


class Server(httpx.AsyncBaseTransport):
    """Answers by path, or raises."""

    def __init__(self) -> None:
        self.answers: dict[str, httpx.Response | httpx.HTTPError] = dict(WELL)
        self.asked: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        answer = self.answers.get(request.url.path, httpx.Response(404))
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def fleet(server: Server) -> Any:
    async with AsyncLoadBalancer([replace(ENDPOINT, api_key="k")], enable_health_check=False, transport=server) as balancer:
        yield await balancer._started()


async def test_a_check_finds_the_models_and_the_queue(fleet: Fleet, server: Server) -> None:
    outcome = await fleet.prober.check("gpu")
    assert (outcome.failure, outcome.status) == (None, 200)
    assert server.asked == ["/health", "/v1/models", "/metrics"]
    assert fleet.catalog.models() == {"m": ["gpu"]}
    assert fleet.prober.queued == {"gpu": 4.0}


async def test_a_dead_engine_fails_the_check_though_the_models_are_listed(fleet: Fleet, server: Server) -> None:
    await fleet.prober.check("gpu")
    server.answers["/health"] = httpx.Response(503)
    outcome = await fleet.prober.check("gpu")
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.status) == (FailureKind.SERVER, 503)
    assert "/health" in outcome.failure.message
    assert server.asked[3:] == ["/health"], "the rest need not be asked for"


async def test_a_refused_key_fails_the_check_though_the_engine_is_well(fleet: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(401, json={"error": "Unauthorized"})
    outcome = await fleet.prober.check("gpu")
    assert outcome.failure is not None and outcome.failure.kind is FailureKind.AUTHENTICATION


async def test_a_server_behind_a_proxy_that_shows_only_the_api_is_well(fleet: Fleet, server: Server) -> None:
    del server.answers["/health"], server.answers["/metrics"]
    assert (await fleet.prober.check("gpu")).failure is None
    assert fleet.catalog.models() == {"m": ["gpu"]}
    assert fleet.prober.queued == {}


@pytest.mark.parametrize(
    "metrics", [httpx.Response(500), httpx.Response(401), httpx.Response(200, text="<html>"), httpx.ReadTimeout("slow")]
)
async def test_metrics_that_do_not_come_change_nothing_but_the_queue(
    metrics: httpx.Response | httpx.HTTPError, fleet: Fleet, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "balancer.fleet.prober")
    await fleet.prober.check("gpu")
    server.answers["/metrics"] = metrics
    assert (await fleet.prober.check("gpu")).failure is None
    assert fleet.prober.queued == {}, "an old number would mislead"
    assert fleet.health["gpu"].usable
    assert [r.levelname for r in caplog.records if "how much waits" in r.getMessage()] == ["DEBUG"]


async def test_an_endpoint_that_is_taken_away_has_no_queue(fleet: Fleet) -> None:
    await fleet.prober.check("gpu")
    fleet.remove("gpu")
    assert fleet.prober.queued == {}


VLLMS_MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "vllm"}]}


@pytest.fixture
async def unnamed(server: Server) -> Any:
    """A fleet whose settings don't say that the server is vLLM's."""
    endpoint = replace(ENDPOINT, provider="openai")
    async with AsyncLoadBalancer([endpoint], enable_health_check=False, transport=server) as balancer:
        yield await balancer._started()


async def test_a_server_that_shows_to_be_vllm_is_checked_as_one(unnamed: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(200, json=VLLMS_MODELS)
    await unnamed.prober.check("gpu")
    assert server.asked == ["/v1/models", "/metrics"]
    assert unnamed.prober.queued == {"gpu": 4.0}
    server.answers["/health"] = httpx.Response(503)
    assert (await unnamed.prober.check("gpu")).failure is not None
    server.answers |= WELL
    await unnamed.prober.check("gpu")
    assert unnamed.prober.queued == {}, "another server is there now"


async def test_a_process_that_checks_nothing_asks_once_whether_a_server_is_vllms(unnamed: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(503)
    assert (await unnamed.prober.engine_load("gpu")).waiting is None
    server.answers["/v1/models"] = httpx.ReadTimeout("slow")
    assert (await unnamed.prober.engine_load("gpu")).waiting is None
    server.answers["/v1/models"] = httpx.Response(200, json=VLLMS_MODELS)
    assert (await unnamed.prober.engine_load("gpu")).waiting == 4.0
    assert (await unnamed.prober.engine_load("gpu")).waiting == 4.0
    assert server.asked == ["/v1/models"] * 3 + ["/metrics"] * 2


async def test_a_server_is_not_asked_whose_it_is_while_its_limit_does_not_matter(unnamed: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(200, json=VLLMS_MODELS)
    assert (await unnamed.prober.engine_load("gpu", is_bound=False)).waiting is None
    assert server.asked == []


@pytest.mark.parametrize(
    "models", [MODELS, {"data": [{"id": "m", "owned_by": "openai"}]}, {"data": {"owned_by": "vllm"}}, "vllm"]
)
async def test_another_server_is_not_asked_for_vllms_metrics(models: Any, unnamed: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(200, json=models)
    for _ in range(2):
        assert (await unnamed.prober.engine_load("gpu")).waiting is None
    assert server.asked == ["/v1/models"]


async def test_a_vllm_keeps_the_wire_format_that_is_configured(unnamed: Fleet, server: Server) -> None:
    server.answers["/v1/models"] = httpx.Response(200, json=VLLMS_MODELS)
    await unnamed.prober.check("gpu")
    assert type(unnamed.prober._connections["gpu"].adapter) is OpenAIAdapter
