"""Connections by address."""

import pytest

from producer_api.http.peers import Peers


def test_an_address_has_its_share_and_gets_it_back() -> None:
    peers = Peers(2)
    assert [peers.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert peers.enter("10.0.0.2"), "another address"
    peers.leave("10.0.0.1")
    assert [peers.enter("10.0.0.1") for _ in range(2)] == [True, False]
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        peers.leave(address)
    assert not peers._open, "nothing is kept of addresses that have gone"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    peers = Peers(1)
    assert peers.enter(one)
    assert peers.enter(other) is not same


def test_without_a_limit_nothing_is_counted() -> None:
    peers = Peers(None)
    assert all(peers.enter("10.0.0.1") for _ in range(1000))
    assert not peers._open
