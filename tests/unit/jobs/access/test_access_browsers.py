"""Which requests come from a page of another site."""

import pytest

from jobs.access.browsers import foreign_host, foreign_page


@pytest.mark.parametrize(
    ("host", "foreign"),
    [
        ("127.0.0.1:4000", False),
        ("localhost:4000", False),
        ("LOCALHOST", False),
        ("[::1]:4000", False),
        ("127.5.6.7", False),
        ("evil.example:4000", True),  # a name that was made to point here
        ("127.0.0.1.evil.example", True),
        ("localhost.evil.example", True),
        ("192.168.1.5:4000", True),
        ("", True),
        ("[::1", True),
    ],
)
def test_a_host_is_this_machines_own_or_foreign(host: str, foreign: bool) -> None:
    assert foreign_host(host) is foreign


@pytest.mark.parametrize(
    ("origin", "site", "mode", "foreign"),
    [
        ("", "", "", False),  # no browser
        ("http://127.0.0.1:4000", "same-origin", "cors", False),  # our own page
        ("", "none", "navigate", False),  # typed into the address bar
        ("", "cross-site", "navigate", False),  # a link that was followed
        ("https://evil.example", "", "", True),  # an old browser
        ("https://evil.example", "cross-site", "no-cors", True),
        ("http://127.0.0.1:9999", "same-site", "cors", True),  # another server of this machine
        ("null", "cross-site", "cors", True),  # a sandboxed frame
        ("", "cross-site", "no-cors", True),  # an image, a script
    ],
)
def test_a_page_is_our_own_or_foreign(origin: str, site: str, mode: str, foreign: bool) -> None:
    assert foreign_page("127.0.0.1:4000", origin, site, mode) is foreign
