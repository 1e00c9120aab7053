"""Decides from its headers whether a request may come from a page in a browser (pure).

A server without keys trusts every client that can reach its port. On this machine that is every page that a browser shows: it
may send requests to 127.0.0.1, and under a name of its own that it lets point there (DNS rebinding) it may read the answers.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from jobs.access.exposure import is_loopback

__all__ = ["foreign_host", "foreign_page"]


@lru_cache(maxsize=64)
def foreign_host(host: str) -> bool:
    """Whether a request's `Host` is another name than this machine's own: an attacker's that points here."""
    return not is_loopback(_name_of(f"//{host}"))


def foreign_page(host: str, origin: str, fetch_site: str, fetch_mode: str) -> bool:
    """Whether a page of another site sent a request, by its `Host`, `Origin`, `Sec-Fetch-Site` and `Sec-Fetch-Mode`.

    A header that is missing is "". Following a link to a page here is nothing foreign.
    """
    if origin and origin.lower() != "null" and urlsplit(origin).netloc.lower() != host.lower():
        return True
    if origin.lower() == "null":
        return True
    return fetch_site.lower() in ("cross-site", "same-site") and fetch_mode.lower() != "navigate"


def _name_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
