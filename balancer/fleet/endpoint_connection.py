"""What stays the same between two requests to an endpoint."""

from dataclasses import replace

import httpx

from balancer.endpoint import Endpoint
from balancer.fleet.watch import Signs
from balancer.http import PreparedRequest
from balancer.providers import Adapter, Check, EngineLoad, adapter_for

__all__ = ["EndpointConnection"]

MOST_URLS = 256
"""Addresses kept for each endpoint: a path may hold a model's name, which users choose."""


class EndpointConnection:
    """What never changes between two requests to an endpoint, made once."""

    def __init__(self, endpoint: Endpoint, adapter: Adapter) -> None:
        self.endpoint = endpoint
        self.adapter = adapter
        self.signs = Signs()
        self._server = adapter
        """The adapter that says how the server is checked: of its own provider, once it has shown which that is."""
        self.has_shown_server = not adapter.is_shared or adapter.check is None
        self._headers = adapter.headers(endpoint)
        self._requests: dict[str, PreparedRequest] = {}

    @property
    def checks(self) -> list[Check]:
        """What the endpoint may be asked for free, the least first."""
        return [check for check in (self._server.alive_check, self.adapter.check) if check is not None]

    @property
    def load_check(self) -> Check | None:
        """What it may be asked for to know how much it has to do."""
        return self._server.load_check

    def load(self, body: bytes) -> EngineLoad:
        """Read the answer to `load_check`."""
        return self._server.load(body)

    def learn_server(self, body: bytes) -> None:
        """Learn from an answer to the adapter's `check` whose server this is. Requests are sent as configured all the same."""
        self.has_shown_server = True
        provider = self.adapter.provider_of(body)
        self._server = self.adapter if provider is None else adapter_for(provider)

    def request(self, path: str, body: bytes = b"", api_key: str | None = None) -> PreparedRequest:
        """Return a request below the endpoint's URL, with its own key or a caller's. Raises ProtocolError, and ConfigurationError
        where it can't be signed."""
        if api_key is not None:
            headers = self.adapter.headers(replace(self.endpoint, api_key=api_key))
            return PreparedRequest("POST", self.endpoint.url + path, headers, self.endpoint.name)
        if signature := self.adapter.signature(self.endpoint, self.endpoint.url + path, body):
            return PreparedRequest("POST", self.endpoint.url + path, {**self._headers, **signature}, self.endpoint.name)
        prepared = self._requests.get(path)
        if prepared is None:
            if len(self._requests) >= MOST_URLS:
                self._requests.clear()
            prepared = PreparedRequest("POST", self.endpoint.url + path, self._headers, self.endpoint.name)
            self._requests[path] = prepared
        return prepared

    def batch_request(self, method: str, path: str, content_type: str) -> PreparedRequest:
        """Return a request to the provider's batch API. It is in no group, as that is not what answers single requests."""
        return PreparedRequest(method, self.endpoint.url + path, {**self._headers, "content-type": content_type})

    def check_request(self, check: Check) -> PreparedRequest:
        """Return a health check's request. It is in no group: it goes on when the endpoint's requests are taken back."""
        url = httpx.URL(self.endpoint.url).join(check.path) if check.at_root else self.endpoint.url + check.path
        return PreparedRequest("GET", url, self._headers)
