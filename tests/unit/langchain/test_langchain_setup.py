"""How a chat model is made: endpoints, balancers, keys and settings."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from chat_models import ADDRESS, STREAM, Listener, ask
from langchain_core.load import dumps
from pydantic import ValidationError
from scripted_server import Scripted, completion

import api_roadbalancer.langchain as package
from api_roadbalancer import AsyncLoadBalancer, BalancerClosed, Endpoint, LoadBalancer
from api_roadbalancer.langchain import ChatRoadbalancer


async def test_balancers_that_are_given_are_used_and_left_open() -> None:
    threads, loop = Scripted(completion(content="from threads")), Scripted(completion(content="from the loop"))
    with LoadBalancer([Endpoint(ADDRESS)], **threads.options()) as balancer:
        async with AsyncLoadBalancer([Endpoint(ADDRESS)], **loop.options()) as async_balancer:
            model = ChatRoadbalancer(balancer=balancer, async_balancer=async_balancer, model="m")

            assert (await ask(model, "invoke")).content == "from threads"
            assert (await ask(model, "ainvoke")).content == "from the loop"
            assert model.endpoint_names == ["gpu1:8000"]
            await model.aclose()
            assert (await ask(model, "invoke")).content == "from threads"


@pytest.mark.parametrize(("how", "server"), [("ainvoke", completion(content="Good day")), ("astream", STREAM)])
async def test_a_balancer_for_threads_serves_asynchronous_calls_too(how: str, server: Any) -> None:
    with LoadBalancer([Endpoint(ADDRESS)], **Scripted(server).options()) as balancer:
        assert (await ask(ChatRoadbalancer(balancer=balancer, model="m"), how)).content == "Good day"


async def test_an_asynchronous_balancer_alone_refuses_calls_that_wait() -> None:
    async with AsyncLoadBalancer([Endpoint(ADDRESS)]) as balancer:
        with pytest.raises(ValueError, match=r"use ainvoke and astream, or give balancer="):
            ChatRoadbalancer(async_balancer=balancer).invoke("x")


def test_one_model_serves_several_event_loops_and_threads() -> None:
    server = Scripted(completion(content="x"))
    model = ChatRoadbalancer(endpoints=[ADDRESS], model="m", options=server.options())

    async def ask_and_close() -> str:
        answer = await model.ainvoke("x")
        return str(answer.content)

    assert [asyncio.run(ask_and_close()) for _ in range(3)] == ["x", "x", "x"]
    assert [answer.content for answer in model.batch(["x"] * 8)] == ["x"] * 8
    model.close()
    model.close()
    with pytest.raises(BalancerClosed):
        model.invoke("x")


def test_a_configuration_file_names_the_endpoints(tmp_path: Any) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("endpoints:\n  - {url: 'http://gpu1:8000/v1', name: one, api_key: sk-file}\n")
    server = Scripted(completion(content="x"))
    model = ChatRoadbalancer(config=path, model="m", options=server.options())

    model.invoke("x")
    model.close()

    assert model.endpoint_names == ["one"]
    assert server.keys == ["Bearer sk-file"]


def test_a_key_goes_to_endpoints_that_are_mere_addresses_only() -> None:
    server = Scripted(completion(content="x"))
    endpoints = [ADDRESS, Endpoint("http://gpu2:8000/v1", api_key="sk-own"), Endpoint("http://gpu3:8000/v1")]
    options = server.options(strategy="round_robin")
    model = ChatRoadbalancer(endpoints=endpoints, api_key="sk-given", model="m", options=options)

    for _ in range(3):
        model.invoke("x")
    model.close()

    assert sorted(server.keys, key=str) == ["Bearer sk-given", "Bearer sk-own", None]


def test_no_key_is_shown_serialised_or_passed_to_callbacks() -> None:
    server = Scripted(completion(content="x"))
    listener = Listener()
    model = ChatRoadbalancer(
        endpoints=[ADDRESS, Endpoint("http://user:sk-secret@gpu2:8000/v1", api_key="sk-secret")],
        api_key="sk-secret",
        options=server.options(redis_url=None),
        callbacks=[listener],
        model="m",
    )

    model.invoke("x")
    model.close()

    shown = [repr(model), str(model), dumps(model), repr(model.asdict()), repr(model.model_dump()), model.model_dump_json()]
    shown += [repr(model._get_ls_params()), repr(listener.invocation), model._get_llm_string()]
    assert [each for each in shown if "secret" in each] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"endpoints": []}, "there are none"),
        ({"endpoints": ["gpu1:8000"]}, "must be an http:// or https:// address"),
        ({"endpoints": [ADDRESS], "config": "fleet.yaml"}, "endpoints, config: give one of them"),
        ({"endpoints": [ADDRESS], "options": {"strategy": "fastest"}}, "fastest"),
        ({"config": "missing.yaml"}, "missing.yaml"),
        ({"endpoints": [ADDRESS], "temprature": 1}, "temprature"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once_without_a_key(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ChatRoadbalancer(api_key="sk-secret", **settings)

    assert "sk-secret" not in str(caught.value)


def test_settings_of_a_balancer_that_is_given_are_refused_beside_it() -> None:
    with (
        LoadBalancer([Endpoint(ADDRESS)]) as balancer,
        pytest.raises(ValidationError, match="timeout, max_retries: with balancer="),
    ):
        ChatRoadbalancer(balancer=balancer, timeout=5, max_retries=0)


def test_models_over_other_endpoints_or_settings_do_not_share_a_cache() -> None:
    keys = {
        ChatRoadbalancer(endpoints=[address], model=model, temperature=temperature)._get_llm_string()
        for address, model, temperature in [
            (ADDRESS, "m", 0),
            ("http://gpu2:8000/v1", "m", 0),
            (ADDRESS, "n", 0),
            (ADDRESS, "m", 1),
        ]
    }
    assert len(keys) == 4


def test_traces_have_provider_model_and_settings() -> None:
    model = ChatRoadbalancer(endpoints=[ADDRESS], model="m", temperature=0.5, max_tokens=9, stop=["END"])

    assert model._get_ls_params() == {
        "ls_provider": "roadbalancer",
        "ls_model_type": "chat",
        "ls_model_name": "m",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["END"],
    }


def test_without_the_extra_the_import_says_what_to_install() -> None:
    program = "import sys; sys.modules['langchain_core'] = None; import api_roadbalancer.langchain"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "ImportError: ChatRoadbalancer needs langchain-core" in ended.stderr
    assert "pip install 'roadbalancer[langchain]'" in ended.stderr


def test_the_package_offers_what_it_says() -> None:
    assert package.__all__ == ["ChatRoadbalancer", "ChatRoadbalancerError"]
