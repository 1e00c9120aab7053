"""What a chat sends and gives back, with a transport that plays the endpoints."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import api_roadbalancer
import balancer
import roadbalancer
from balancer import AsyncLoadBalancer, BalancerClosed, ConfigurationError, Endpoint, LoadBalancer, Price, Usage, UsedAfterFork

A, B = "http://a:8000/v1", "http://b:8000/v1"
HELLO = [{"role": "user", "content": "Hello!"}]
ANSWER = {
    "model": "m1",
    "choices": [{"message": {"role": "assistant", "content": "Hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}


class Recorder:
    """Plays every endpoint, and remembers what each was sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[httpx.Request] = []
        self.models: list[str] = ["zeta", "alpha"]
        self.models_asked = 0
        self.answers: Callable[[str], httpx.Response] = lambda host: httpx.Response(200, json=ANSWER)
        self.transport = httpx.MockTransport(self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/models"):
            self.models_asked += 1
            return httpx.Response(200, json={"data": [{"id": name} for name in self.models]})
        self.requests.append(request)
        self.bodies.append(orjson.loads(request.read()))
        return self.answers(request.url.host)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def made(recorder: Recorder, *endpoints: Endpoint, **options: Any) -> LoadBalancer:
    return LoadBalancer(endpoints, transport=recorder.transport, **{"enable_health_check": False} | options)


def test_the_same_names_are_imported_from_both_packages() -> None:
    assert set(balancer.__all__) <= set(api_roadbalancer.__all__)
    for name in balancer.__all__:
        assert getattr(api_roadbalancer, name) is getattr(balancer, name)
    for name in api_roadbalancer.__all__:
        assert getattr(roadbalancer, name) is getattr(api_roadbalancer, name)


def test_a_result_says_everything(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A, name="GPU-1", price=Price(1.0, 2.0))) as lb:
        result = lb.chat(messages=HELLO, model="m1", temperature=None, max_tokens=None)
    assert result["success"] is True
    assert (result.content, result.endpoint, result.model, result.error) == ("Hi", "GPU-1", "m1", None)
    assert result.usage == Usage(10, 5)
    assert result.cost == pytest.approx(20e-6)
    assert result.raw == ANSWER
    assert 0 < result.latency < 5
    assert [(each["endpoint"], each["error"]) for each in result.attempts] == [("GPU-1", None)]


def test_every_keyword_goes_through_untouched(recorder: Recorder) -> None:
    fields = {
        "model": "m1",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "response_format": {"type": "json_object"},
        "seed": 7,
        "stop": [],
        "chat_template_kwargs": {"enable_thinking": False},
        "temperature": 0,
        "logprobs": False,
    }
    with made(recorder, Endpoint(A, api_key="k1")) as lb:
        lb.chat(HELLO, **fields)
    assert recorder.bodies == [{"messages": HELLO} | fields]
    assert recorder.requests[0].headers["authorization"] == "Bearer k1"


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        # defaults where the call sets none
        ({}, {"max_tokens": 100, "temperature": 0.7}),
        # None is none
        ({"max_tokens": None, "temperature": None}, {"max_tokens": 100, "temperature": 0.7}),
        # the call's own, zero too
        ({"max_tokens": 50, "temperature": 0.0}, {"max_tokens": 50, "temperature": 0.0}),
        # the cap
        ({"max_tokens": 5000, "temperature": 1.0}, {"max_tokens": 100, "temperature": 1.0}),
        # under its newer name
        ({"max_completion_tokens": 5000}, {"max_completion_tokens": 100, "temperature": 0.7}),
    ],
)
def test_an_endpoint_has_defaults_and_a_cap(recorder: Recorder, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    with made(recorder, Endpoint(A, max_tokens=100, temperature=0.7)) as lb:
        assert lb.chat(HELLO, model="m", **asked)
    assert recorder.bodies == [{"messages": HELLO, "model": "m"} | sent]


def test_each_endpoint_has_its_own_settings_in_a_fallback(recorder: Recorder) -> None:
    recorder.answers = lambda host: httpx.Response(500 if host == "a" else 200, json=ANSWER)
    endpoints = [Endpoint(A, max_tokens=10, api_key="ka"), Endpoint(B, models={"m": "upstream"}, api_key="kb")]
    with made(recorder, *endpoints, strategy="round_robin") as lb:
        assert lb.chat(HELLO, model="m")["endpoint"] == "b:8000"
    assert recorder.bodies == [{"messages": HELLO, "model": "m", "max_tokens": 10}, {"messages": HELLO, "model": "upstream"}]
    assert [request.headers["authorization"] for request in recorder.requests] == ["Bearer ka", "Bearer kb"]


def test_the_model_is_asked_for_once(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A)) as lb:
        for _ in range(3):
            assert lb.chat(HELLO)["success"]
    assert recorder.models_asked == 1
    assert [body["model"] for body in recorder.bodies] == ["zeta"] * 3  # the first that it lists


@pytest.mark.parametrize(
    ("endpoint", "fields", "model"),
    [
        # the call names one
        (Endpoint(A), {"model": "mine"}, "mine"),
        # the endpoint names one
        (Endpoint(A, models={"own": "upstream"}), {}, "upstream"),
    ],
)
def test_a_model_that_is_named_is_not_asked_for(
    recorder: Recorder, endpoint: Endpoint, fields: dict[str, Any], model: str
) -> None:
    with made(recorder, endpoint) as lb:
        lb.chat(HELLO, **fields)
    assert recorder.models_asked == 0
    assert recorder.bodies[0]["model"] == model


def test_an_endpoint_that_comes_in_the_place_of_another_is_asked_for_its_own_model(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A, name="x"), Endpoint(B, name="y")) as lb:
        for _ in range(2):
            lb.chat(HELLO)
        recorder.models = ["new"]
        assert lb.remove_endpoint(A)
        assert lb.remove_endpoint("y")
        lb.add_endpoint(Endpoint(A, name="x"))
        lb.chat(HELLO)
    assert recorder.bodies[-1]["model"] == "new"


def test_a_model_that_not_served_is_said_so(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A, models={"m": "m"})) as lb:
        result = lb.chat(HELLO, model="other")
    assert (result.success, result.error, result.attempts) == (False, "no endpoint serves the model 'other'", ())


def test_no_endpoint_at_all_is_said_so(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A)) as lb:
        lb.remove_endpoint(A)
        result = lb.chat(HELLO)
    assert not result["success"]
    assert "no endpoint is left" in str(result["error"])


@pytest.mark.parametrize(
    "raw",
    [{}, {"choices": []}, {"choices": [{"message": {"content": [{"text": None}]}}]}, {"choices": [{"message": 3}], "usage": 3}],
)
def test_an_odd_answer_raises_nothing(recorder: Recorder, raw: dict[str, Any]) -> None:
    recorder.answers = lambda host: httpx.Response(200, json=raw)
    with made(recorder, Endpoint(A)) as lb:
        assert not lb.chat(HELLO, model="m")["content"]


def test_an_answer_that_breaks_while_it_is_read_is_a_failure(recorder: Recorder) -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"{"
            raise httpx.ReadError("reset")

    recorder.answers = lambda host: httpx.Response(200, stream=Broken()) if host == "a" else httpx.Response(200, json=ANSWER)
    with made(recorder, Endpoint(A), Endpoint(B), strategy="round_robin") as lb:
        assert lb.chat(HELLO, model="m")["endpoint"] == "b:8000"


def test_the_statistics_have_their_fixed_shape(recorder: Recorder) -> None:
    recorder.answers = lambda host: httpx.Response(500 if host == "a" else 200, json=ANSWER)
    with made(recorder, Endpoint(A, name="GPU-1"), Endpoint(B, name="GPU-2")) as lb:
        assert lb.get_stats() == {
            "strategy": "weighted",
            "total_endpoints": 2,
            "healthy_endpoints": 2,
            "total_requests": 0,
            "total_success": 0,
            "total_failures": 0,
            "success_rate": "0.00%",
            "input_tokens": 0,
            "output_tokens": 0,
            "requests_of_unknown_cost": 0,
            "cost": 0.0,
            "endpoints": lb.get_stats()["endpoints"],
        }
        for _ in range(2):
            lb.chat(HELLO, model="m")
        stats = lb.get_stats()
    assert (stats["total_requests"], stats["total_success"], stats["total_failures"]) == (3, 2, 1)
    assert stats["success_rate"] == "66.67%"
    first, second = stats["endpoints"]
    assert (first["name"], first["url"], first["failures"], first["success_rate"]) == ("GPU-1", A, 1, "0.00%")
    assert (second["name"], second["success"], second["in_flight"], second["healthy"]) == ("GPU-2", 2, 0, True)
    assert lb.get_stats()["total_requests"] == 3  # after `close` too


def test_usage_is_summed_with_what_has_no_price(recorder: Recorder) -> None:
    used = {**ANSWER, "usage": {"prompt_tokens": 1_000, "completion_tokens": 500}}
    recorder.answers = lambda host: httpx.Response(500) if host == "a" else httpx.Response(200, json=used)
    priced = Endpoint(B, name="priced", price=Price(1.0, 4.0))
    with made(recorder, Endpoint(A, name="down"), priced, strategy="round_robin", retry_count=1) as lb:
        lb.chat(HELLO)
        lb.chat(HELLO)
        assert lb.remove_endpoint("down")
        lb.add_endpoint(Endpoint("http://c:8000/v1", name="free"))
        lb.chat(HELLO)
        lb.chat(HELLO)
    usage = lb.usage()
    priced_usage, free_usage = usage["endpoints"]["priced"], usage["endpoints"]["free"]
    assert priced_usage["requests"] + free_usage["requests"] == 4
    assert priced_usage["cost"] == usage["cost"] == pytest.approx(priced_usage["requests"] * 0.003)
    assert free_usage["requests_of_unknown_cost"] == usage["requests_of_unknown_cost"] == free_usage["requests"] > 0
    assert (usage["input_tokens"], usage["output_tokens"]) == (4_000, 2_000)
    assert usage["endpoints"]["down"]["cost"] == usage["endpoints"]["down"]["requests_of_unknown_cost"] == 0
    assert lb.get_stats()["cost"] == usage["cost"]


def test_a_closed_balancer_says_so(recorder: Recorder) -> None:
    lb = made(recorder, Endpoint(A))
    assert lb.chat(HELLO)["success"]
    lb.close()
    lb.close()
    for use in (lambda: lb.chat(HELLO), lambda: lb.chat(HELLO, stream=True), lambda: lb.drain(A), lambda: lb.remove_endpoint(A)):
        with pytest.raises(BalancerClosed, match="closed; make a new one"):
            use()
    with pytest.raises(BalancerClosed), lb:
        pass


async def test_a_closed_asynchronous_balancer_says_so(recorder: Recorder) -> None:
    async with AsyncLoadBalancer([Endpoint(A)], transport=recorder.transport, enable_health_check=False) as lb:
        assert (await lb.chat(HELLO)).success
    await lb.close()
    with pytest.raises(BalancerClosed):
        await lb.chat(HELLO)


def test_a_balancer_that_was_never_used_closes(recorder: Recorder) -> None:
    made(recorder, Endpoint(A)).close()


async def test_the_synchronous_one_works_inside_a_running_loop(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A)) as lb:
        assert lb.chat(HELLO)["success"]
        assert (await asyncio.to_thread(lb.chat, HELLO))["success"]


def test_misuse_of_a_call_is_raised_and_leaves_nothing_behind(recorder: Recorder) -> None:
    with made(recorder, Endpoint(A)) as lb:
        with pytest.raises(TypeError):
            lb.chat(HELLO, model="m", extra=object())
        assert lb.get_stats()["endpoints"][0]["in_flight"] == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of a fork beside threads
def test_a_child_process_gets_an_error_that_says_what_to_do(recorder: Recorder) -> None:
    lb = made(recorder, Endpoint(A))
    lb.chat(HELLO)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"nothing was raised"
        try:
            lb.close()  # harmless
            lb.chat(HELLO)
        except UsedAfterFork as exc:
            said = str(exc).encode()
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    assert said == f"this balancer was made in process {os.getpid()}, before the fork; make one in each child process instead"
    assert lb.chat(HELLO)["success"]
    lb.close()


def test_endpoints_come_from_the_environment(recorder: Recorder) -> None:
    environ = {
        "LLM_ENDPOINTS": f"{A},{B}",
        "LLM_API_KEYS": "ka,kb",
        "LLM_WEIGHTS": "2,1",
        "LLM_STRATEGY": "random",
        "LLM_HEALTH_CHECK": "false",
        "LLM_TIMEOUT": "5",
    }
    with LoadBalancer.from_env(environ, transport=recorder.transport) as lb:
        assert lb.chat(HELLO)["success"]
        stats = lb.get_stats()
    assert stats["strategy"] == "random"
    assert [(each["url"], each["weight"]) for each in stats["endpoints"]] == [(A, 2.0), (B, 1.0)]
    assert recorder.requests[0].headers["authorization"] in ("Bearer ka", "Bearer kb")


@pytest.mark.parametrize(("environ", "place"), [({}, "LLM_ENDPOINTS"), ({"LLM_ENDPOINTS": A, "LLM_WEIGHTS": "0"}, "weight")])
def test_an_environment_that_can_not_be_used_is_refused(environ: dict[str, str], place: str) -> None:
    with pytest.raises(ConfigurationError, match=place):
        LoadBalancer.from_env(environ)


def test_endpoints_come_from_the_configuration_file(recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"strategy: round_robin\nhealth_check: {{enabled: false}}\nendpoints: [{{url: '{A}', name: GPU-1}}]\n")
    with LoadBalancer.from_config(path, transport=recorder.transport, strategy="least_connections") as lb:
        assert lb.chat(HELLO)["endpoint"] == "GPU-1"
        assert lb.get_stats()["strategy"] == "least_connections"


def test_a_configuration_file_without_endpoints_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLM_ENDPOINTS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config.yaml"
    path.write_text("strategy: random\n")
    with pytest.raises(ConfigurationError, match=r"config\.yaml: endpoints"):
        LoadBalancer.from_config(path)
