"""Addresses of a Redis behind Sentinel."""

from typing import Any

import pytest

from balancer.configuration.schema import ConfigurationFile
from balancer.state.redis_connection import without_password
from balancer.state.sentinel import SentinelAddress

URL = "redis+sentinel://user:p%40ss@one,two:26380,[fd00::3]:26381/jobs/2?sentinel_username=watch&sentinel_password=s%26cret"


def parsed(url: str) -> SentinelAddress:
    address = SentinelAddress.parse(url)
    assert address
    return address


def test_all_that_an_address_can_say() -> None:
    address = parsed(URL)
    assert address.hosts == (("one", 26379), ("two", 26380), ("fd00::3", 26381))
    assert (address.service, address.database, address.has_tls) == ("jobs", 2, False)
    assert address.server_options == {"username": "user", "password": "p@ss", "db": 2}
    own = dict(address.own_options)
    assert (own["username"], own["password"]) == ("watch", "s&cret")
    assert "p@ss" not in repr(address)
    assert without_password(URL) == "redis+sentinel://one,two:26380,[fd00::3]:26381/jobs/2"


def test_the_least_that_an_address_says() -> None:
    address = parsed("redis+sentinel://host/jobs")
    assert (address.hosts, address.service, address.database) == ((("host", 26379),), "jobs", 0)
    assert address.server_options == {"db": 0}


def test_tls_is_that_of_the_servers_and_of_the_sentinels() -> None:
    address = parsed("rediss+sentinel://:pw@host/jobs?ssl_ca_certs=/etc/ca.pem")
    assert address.has_tls
    for options in (address.server_options, address.own_options):
        assert (options["ssl"], options["ssl_ca_certs"]) == (True, "/etc/ca.pem")
    assert "password" not in address.own_options


@pytest.mark.parametrize("url", ["redis://host/0", "rediss://host", "unix:///run/redis.sock", "mysentinel://host/x", ""])
def test_other_addresses(url: str) -> None:
    assert SentinelAddress.parse(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://host", "name of the service"),
        ("redis+sentinel://host/", "name of the service"),
        ("redis+sentinel:///jobs", "is no host"),
        ("redis+sentinel://one,,two/jobs", "is no host"),
        ("redis+sentinel://host:0/jobs", "is no host"),
        ("redis+sentinel://host:70000/jobs", "is no host"),
        ("redis+sentinel://host:port/jobs", "is no host"),
        ("redis+sentinel://host/jobs/x", "must be a number"),
    ],
)
def test_a_bad_address_says_what_is_wrong(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SentinelAddress.parse(url)
    settings: dict[str, Any] = {"redis_url": url, "endpoints": []}
    with pytest.raises(ValueError, match=problem):
        ConfigurationFile.model_validate(settings)
