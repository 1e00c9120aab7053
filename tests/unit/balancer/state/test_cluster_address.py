"""Addresses of a Redis Cluster."""

from typing import Any

import pytest

from balancer.configuration.schema import ConfigurationFile
from balancer.state.cluster import ClusterAddress
from balancer.state.redis_connection import without_password

URL = "rediss+cluster://user:p%40ss@one,two:7001,[fd00::3]:7002/0?ssl_ca_certs=/etc/ca.pem"


def test_all_that_an_address_can_say() -> None:
    address = ClusterAddress.parse(URL)
    assert address
    assert address.hosts == (("one", 6379), ("two", 7001), ("fd00::3", 7002))
    assert address.has_tls
    assert address.options == {"username": "user", "password": "p@ss", "ssl_ca_certs": "/etc/ca.pem"}
    assert "p@ss" not in repr(address)
    assert without_password(URL) == "rediss+cluster://one,two:7001,[fd00::3]:7002/0"


def test_the_least_that_an_address_says() -> None:
    address = ClusterAddress.parse("redis+cluster://host")
    assert address == ClusterAddress((("host", 6379),), False, {})


@pytest.mark.parametrize("url", ["redis://host/0", "rediss://host", "unix:///run/redis.sock", "redis+sentinel://host/x", ""])
def test_other_addresses(url: str) -> None:
    assert ClusterAddress.parse(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+cluster://host/1", "one database only"),
        ("redis+cluster://host/name", "one database only"),
        ("redis+cluster://", "is no host"),
        ("redis+cluster://one,,two", "is no host"),
        ("redis+cluster://host:70000", "is no host"),
        ("redis+clusters://host", "must begin with"),
    ],
)
def test_a_bad_address_says_what_is_wrong(url: str, problem: str) -> None:
    settings: dict[str, Any] = {"redis_url": url, "endpoints": []}
    with pytest.raises(ValueError, match=problem):
        ConfigurationFile.model_validate(settings)
