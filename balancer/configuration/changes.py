"""Changes of a fleet while it runs, on top of its configuration (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from balancer.configuration.loading import endpoint_settings
from balancer.configuration.schema import checked_endpoint
from balancer.configuration.yaml_file import fill_variables
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError

__all__ = ["ChangedFleet", "EndpointChange", "changed_endpoint", "changed_fleet"]

SOURCE = "endpoint"
_KNOWN_BEFORE = ("settings", "draining", "removed", "leaves")


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What is different about one endpoint: `settings` of its entry in `endpoints`, over those in the configuration, or all of
    them for one that is not there. Texts may have `${NAME}`, which each process reads from its environment: no key stands in
    here.

    `draining`: it gets nothing more. `removed`: it is not used. `leaves`: it is to be removed when nothing is in flight there.
    `source` is what has found it (see Discovery.id), "" for none, and `found` the settings that it was found with.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    draining: bool = False
    removed: bool = False
    leaves: bool = False
    source: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return it as Redis holds it. What has not been found is as processes of earlier versions know it."""
        fields = asdict(self)
        return orjson.dumps(fields if self.source else {name: fields[name] for name in _KNOWN_BEFORE})

    @classmethod
    def from_json(cls, raw: bytes) -> "EndpointChange":
        """Read what `to_json` has made."""
        return cls(**orjson.loads(raw))


@dataclass(frozen=True, slots=True)
class ChangedFleet:
    """The fleet with its changes. `problems` are changes that can't be used here, by the endpoint's name; what was configured
    holds in their place."""

    endpoints: Mapping[str, Endpoint]
    draining: frozenset[str]
    problems: Mapping[str, str]


def changed_fleet(configured: Sequence[Endpoint], changes: Mapping[str, EndpointChange], env: Mapping[str, str]) -> ChangedFleet:
    """Apply changes to the configured endpoints; new ones stand behind them, by name."""
    endpoints = {endpoint.name: endpoint for endpoint in configured}
    problems: dict[str, str] = {}
    for name in sorted(changes):
        change = changes[name]
        if change.removed:
            endpoints.pop(name, None)
        elif change.settings:
            try:
                endpoints[name] = changed_endpoint(name, endpoints.get(name), change.settings, env)
            except ConfigurationError as exc:
                problems[name] = f"{exc.path}: {exc.reason}" if exc.path else exc.reason
    draining = frozenset(name for name, change in changes.items() if change.draining and name in endpoints)
    return ChangedFleet(endpoints, draining, problems)


def changed_endpoint(name: str, base: Endpoint | None, settings: Mapping[str, Any], env: Mapping[str, str]) -> Endpoint:
    """Return an endpoint with other settings, or a new one, which is named by its settings if `name` is empty. Raises
    ConfigurationError."""
    filled = fill_variables(dict(settings), env, SOURCE, "")
    given = endpoint_settings(base) if base is not None else {}
    if base is not None and "url" in filled and "provider" not in filled:
        given.pop("provider", None)  # it is guessed from the address
    return checked_endpoint({**given, **filled, **({"name": name} if name else {})}, SOURCE)
