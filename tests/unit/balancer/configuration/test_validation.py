"""Misuse is refused with what is wrong and where."""

import math
from typing import Any

import pytest

from balancer.client.load_balancer import AsyncLoadBalancer
from balancer.client.sync_load_balancer import LoadBalancer
from balancer.configuration import Configuration
from balancer.configuration.validation import checked_endpoints
from balancer.endpoint import Endpoint
from balancer.errors import BalancerError, ConfigurationError

URL = "http://gpu1:8000/v1"
GOOD = Endpoint(URL)


@pytest.mark.parametrize("maker", [AsyncLoadBalancer, LoadBalancer, checked_endpoints])
def test_no_endpoints_are_refused(maker: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoints: there are none; name at least one") as caught:
        maker([])
    assert isinstance(caught.value, ValueError | BalancerError)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gpu1:8000/v1",  # no scheme
        "ftp://gpu1/v1",
        "http://",
        "http:///v1",
        "http://gpu 1/v1",
        "http://gpu1/v1?key=1",
        "http://gpu1/v1#part",
        "http://gpu1:port/v1",
        "http://gpu1:99999/v1",
        "http://gpu1:0/v1",
        "http://[::1/v1",  # half an IPv6 address
        "http://:8000/v1",
    ],
)
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LoadBalancer([GOOD, Endpoint(url, name="GPU-2")])
    assert "endpoints[1] (GPU-2)" in str(caught.value)
    assert caught.value.path == "url"
    assert repr(url.rstrip("/")) in str(caught.value)


@pytest.mark.parametrize("url", ["https://api.example.com/v1", "http://[::1]:8000/v1", "http://user:pw@gpu1/v1", "http://gpu1"])
def test_a_good_address_is_taken(url: str) -> None:
    assert checked_endpoints([Endpoint(url)])[0].url == url


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", 0),
        ("weight", -1.0),
        ("weight", math.nan),
        ("weight", math.inf),
        ("weight", "2"),
        ("weight", True),
        ("max_concurrency", 0),
        ("max_concurrency", 1.5),
        ("max_concurrency", None),
        ("max_tokens", 0),
        ("max_tokens", 0.5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("rpm", 0),
        ("tpm", -1),
        ("provider", "nobody"),
        ("api_key", "a key\n"),
    ],
)
def test_a_bad_value_is_refused_where_it_stands(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"endpoints\[0\] \(GPU-1\)") as caught:
        checked_endpoints([Endpoint(URL, name="GPU-1", **{field: value})])
    assert caught.value.path == field
    assert field != "api_key" or value not in str(caught.value)


def test_a_refused_address_does_not_give_its_password_away() -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked_endpoints([Endpoint("http://user:secret@gpu1/v1?x")])
    assert "secret" not in str(caught.value)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"endpoints\[1\]: name: 'gpu1:8000' is the name of endpoints\[0\] already"):
        LoadBalancer([GOOD, Endpoint("http://gpu1:8000/v2")])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("strategy", "fastest"),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", math.inf),
        ("timeout", None),
        ("retry_count", -1),
        ("retry_count", 1.5),
        ("health_check_interval", 0),
    ],
)
@pytest.mark.parametrize("maker", [AsyncLoadBalancer, LoadBalancer])
def test_a_bad_option_is_refused_by_name(maker: Any, option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=option) as caught:
        maker([GOOD], **{option: value})
    assert repr(value) in str(caught.value)


def test_settings_without_endpoints_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="endpoints"):
        LoadBalancer.from_configuration(Configuration())


def test_a_simulated_address_keeps_its_form() -> None:
    assert Endpoint("mock://").url == "mock://"
    assert Endpoint("http://gpu1:8000/v1/").url == "http://gpu1:8000/v1"
