"""The endpoints behind a service of Kubernetes: its EndpointSlices are listed, then watched.

See kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes".
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from balancer.configuration.environment import environment
from balancer.configuration.values import Discovery
from balancer.http.closing_transport import ClosingTransport
from balancer.runtime.loop import end_tasks
from jobs.fleet.sources import TIMEOUT, Found, at_address, failing_as_source

__all__ = ["ServiceWatch"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, its namespace and the API's certificate authority
(kubernetes.io/docs/tasks/run-application/access-api-from-pod)."""
WATCH_SECONDS = 60
"""Seconds after which the server ends a watch, and the slices are listed again; that it has vanished may be noticed so late."""
_UNWATCHED = (403, 405)
"""What a server answers that does not let its caller watch, for as long as it runs. A token that is refused (401) or a service
that is not there yet (404) may be another matter at the next listing."""

Slices = dict[str, Mapping[str, Any]]
"""EndpointSlices (discovery.k8s.io/v1) by name."""

log = logging.getLogger(__name__)


class ServiceWatch:
    """Knows the endpoints behind one service. `aclose` it; it can be used again then."""

    def __init__(self, source: Discovery, changed: Callable[[], None]) -> None:
        """`changed` is called when others are there than `endpoints` has returned."""
        self._source = source
        self._changed = changed
        self._slices: Slices = {}
        self._watching: asyncio.Task[None] | None = None
        self._may_watch = True

    async def endpoints(self) -> Found:
        """Return one endpoint for each ready address. They are known as long as the watch goes on, and asked for otherwise.

        Raises SourceFailed.
        """
        with failing_as_source():
            if self._watching is None or self._watching.done():
                version = await self._list()
                self._watching = asyncio.create_task(self._watch(version), name=f"watch {self._source.id}")
            return _endpoints_in(self._slices, self._source)

    async def aclose(self) -> None:
        """End the watch."""
        if self._watching is not None:
            await end_tasks(self._watching)
            self._watching = None

    async def _list(self) -> str:
        """Take in the slices that there are, and return the version of the list, from which a watch goes on."""
        async with self._client(TIMEOUT) as client:
            answer = await client.get(self._path(), params=self._selected())
        answer.raise_for_status()
        found = orjson.loads(answer.content)
        self._slices = {slice_["metadata"]["name"]: slice_ for slice_ in found["items"]}
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        """Take in what changes from a version on, until the server ends it. That it failed is known at the next listing."""
        if not self._may_watch:
            return
        asked = self._selected() | {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        try:
            async with (
                self._client(WATCH_SECONDS + TIMEOUT) as client,
                client.stream("GET", self._path(), params=asked) as answer,
            ):
                if answer.status_code in _UNWATCHED:
                    self._may_watch = False
                    log.warning("%s can't be watched (%s), and is asked again and again", self._source.id, answer.status_code)
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    self._take_in(orjson.loads(line))
        except (OSError, httpx.HTTPError, LookupError, TypeError, ValueError) as exc:
            log.debug("the watch of %s has ended: %r", self._source.id, exc)

    def _take_in(self, event: Mapping[str, Any]) -> None:
        """Take in one event. Raises ValueError for one that says that the version is too old (410), or another error."""
        match event["type"], event["object"]:
            case "ADDED" | "MODIFIED", slice_:
                self._slices[slice_["metadata"]["name"]] = slice_
            case "DELETED", slice_:
                self._slices.pop(slice_["metadata"]["name"], None)
            case "ERROR", status:
                raise ValueError(str(status))
        self._changed()

    def _selected(self) -> dict[str, str]:
        return {"labelSelector": f"kubernetes.io/service-name={self._source.where}"}

    def _path(self) -> str:
        namespace = self._source.namespace or (SERVICE_ACCOUNT / "namespace").read_text().strip()
        return f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"

    def _client(self, timeout: float) -> httpx.AsyncClient:
        """Return a client of the API server. The token is read again each time, as Kubernetes replaces it."""
        env = environment()
        trusted = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
        return httpx.AsyncClient(
            base_url=f"https://{env['KUBERNETES_SERVICE_HOST']}:{env['KUBERNETES_SERVICE_PORT']}",
            headers={"authorization": f"Bearer {(SERVICE_ACCOUNT / 'token').read_text().strip()}"},
            transport=ClosingTransport(verify=trusted, trust_env=False),
            timeout=httpx.Timeout(TIMEOUT, read=timeout),
            trust_env=False,
        )


def _endpoints_in(slices: Slices, source: Discovery) -> Found:
    found: Found = {}
    for slice_ in slices.values():
        port = source.port or int(slice_["ports"][0]["port"])
        for endpoint in slice_["endpoints"] or []:
            # "A nil value should be interpreted as true" (the field `conditions.ready`).
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found |= dict(at_address(source, address, port) for address in endpoint["addresses"])
    return found
