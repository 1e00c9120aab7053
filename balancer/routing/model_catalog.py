"""The model catalog: which endpoints serve a model, and its upstream name there.

An endpoint serves the models that its configuration names (`models`: asked for -> upstream; `gpt-*` and `*` are patterns). One
that names none serves what it lists itself (`GET /models`), and until it has listed anything it may serve every model.
"""

from collections.abc import Collection, Mapping, Sequence

from balancer.endpoint import Endpoint, covers, is_pattern
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes

__all__ = ["ModelCatalog", "upstream_model"]


def upstream_model(endpoint: Endpoint, model: str | None) -> str | None:
    """Return the name by which the endpoint's configuration knows `model`, which is the name itself where it names none.

    A request without a model gets the first one that is configured; None if that is up to the endpoint, since nothing or only
    patterns are configured.
    """
    if model:
        return endpoint.models.get(model, model)
    return next((upstream for name, upstream in endpoint.models.items() if not is_pattern(name)), None)


class ModelCatalog:
    """The models of a fleet. `endpoints` is looked at each time, so that it may change."""

    def __init__(self, endpoints: Mapping[str, Endpoint], routes: ModelRoutes = NO_ROUTES) -> None:
        self.routes = routes
        self._endpoints = endpoints
        self._listed: dict[str, frozenset[str]] = {}
        self._first: dict[str, str] = {}
        """The model that each endpoint lists first."""

    def learn(self, endpoint: str, listed: Sequence[str]) -> None:
        """Record what an endpoint lists, in its order."""
        self._listed[endpoint] = frozenset(listed)
        first = next((name for name in listed if self._is_model_of(endpoint, name)), None)
        if first is not None:
            self._first[endpoint] = first

    def learn_unordered(self, listed: Mapping[str, Collection[str]]) -> None:
        """Record what endpoints listed when another process asked them."""
        self._listed |= {endpoint: frozenset(names) for endpoint, names in listed.items()}

    def forget(self, endpoint: str) -> None:
        """Forget what an endpoint has listed."""
        self._listed.pop(endpoint, None)
        self._first.pop(endpoint, None)

    def has_asked(self, endpoint: str) -> bool:
        """Whether it is known what an endpoint lists."""
        return endpoint in self._listed

    def serves(self, endpoint: str, model: str | None) -> bool:
        """Whether an endpoint serves one model, which is no chain; None is a request without a model, which all serve."""
        known: Collection[str] = self._endpoints[endpoint].models or self._listed.get(endpoint, frozenset())
        return model is None or not known or covers(known, model)

    def serving(self, model: str | None) -> list[str]:
        """Return the endpoints that serve `model`, or any model of the chain that it stands for."""
        behind = self.routes.all_behind(model) if model else (None,)
        return [name for name in self._endpoints if any(self.serves(name, each) for each in behind)]

    def possible_upstreams(self, endpoint: str, model: str | None) -> list[str]:
        """Return the names under which an endpoint may be asked for `model`, "" for none: without a model, any that it lists."""
        if upstream := upstream_model(self._endpoints[endpoint], model):
            return [upstream]
        return sorted(name for name in self._listed.get(endpoint, ()) if self._is_model_of(endpoint, name)) or [""]

    def listed_default(self, endpoint: str) -> str | None:
        """Return the model for requests without one, of those that the endpoint lists: the first, None if it lists none."""
        listed = self._listed.get(endpoint, frozenset())
        return self._first.get(endpoint) or min((name for name in listed if self._is_model_of(endpoint, name)), default=None)

    def models(self) -> dict[str, list[str]]:
        """Return every model, pattern, alias and chain that is known of, with the endpoints that serve it."""
        served: dict[str, list[str]] = {}
        for name, endpoint in self._endpoints.items():
            for model in endpoint.models or sorted(self._listed.get(name, frozenset())):
                served.setdefault(model, []).append(name)
        for route in self.routes.names:
            if serving := self.serving(route):
                served[route] = serving
        return served

    def _is_model_of(self, endpoint: str, listed: str) -> bool:
        configured = self._endpoints[endpoint].models
        return not is_pattern(listed) and (not configured or covers(configured, listed))
