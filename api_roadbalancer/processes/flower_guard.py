"""Keeps Flower's pages from being used by other sites' pages in a browser.

Flower has no check of its own against requests that a foreign page sends: with the login that the browser has stored or, without
a login, under a name that points to this machine.
"""

from typing import Any

from flower.views import BaseHandler
from tornado.web import HTTPError

from jobs.access.browsers import foreign_host, foreign_page

__all__ = ["guard_flower"]


def guard_flower(any_host: bool) -> None:
    """Refuse requests of other sites' pages with 403, and, unless `any_host`, those for another host than this machine."""
    prepare = BaseHandler.prepare

    def guarded(handler: BaseHandler) -> Any:
        headers = handler.request.headers
        host = headers.get("Host", "")
        asked = (headers.get("Origin", ""), headers.get("Sec-Fetch-Site", ""), headers.get("Sec-Fetch-Mode", ""))
        if foreign_page(host, *asked) or (not any_host and foreign_host(host)):
            raise HTTPError(403, "requests of other sites' pages are refused")
        return prepare(handler)

    BaseHandler.prepare = guarded
