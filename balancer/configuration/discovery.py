"""`discover`: where endpoints are found while the fleet runs."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from balancer.configuration.fields import Checked
from balancer.configuration.values import Discovery

__all__ = ["DiscoverEntry", "is_service_name"]

HostName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.-]+$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9.-]+$")]
Port = Annotated[int, Field(ge=1, le=65_535)]
FOUND = frozenset({"url", "name"})
"""Settings that each endpoint has of its own."""


def is_service_name(name: str) -> bool:
    """Whether a name in the DNS is that of a service, with SRV records: `_http._tcp.example.com` (RFC 2782)."""
    return name.startswith("_")


class _Strict(Checked):
    model_config = ConfigDict(extra="forbid")


class KubernetesEntry(_Strict):
    """`discover.kubernetes`: the ready pods behind a service."""

    service: ObjectName
    namespace: ObjectName | None = None


class DiscoverEntry(_Strict):
    """One entry of `discover`: `dns`, `file` or `kubernetes`. `endpoint` has the settings of each that is found."""

    dns: HostName | None = None
    file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    kubernetes: KubernetesEntry | None = None
    port: Port | None = None
    scheme: Literal["http", "https"] = "http"
    path: Annotated[str, Field(pattern=r"^(/[^\s?#]*)?$")] = "/v1"
    endpoint: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if sum(each is not None for each in (self.dns, self.file, self.kubernetes)) != 1:
            raise ValueError("give one of dns, file and kubernetes")
        if self.dns is not None and self.port is None and not is_service_name(self.dns):
            raise ValueError("dns needs the port of its endpoints, or a name with SRV records (_http._tcp.example.com)")
        if misplaced := sorted(FOUND & self.endpoint.keys()):
            raise ValueError(f"endpoint.{misplaced[0]} is found, and can't be set")
        return self

    def value(self) -> Discovery:
        """Return it as the value that discovery works with."""
        where = self.dns or self.file or (self.kubernetes.service if self.kubernetes else "")
        return Discovery(
            "dns" if self.dns else "file" if self.file else "kubernetes",
            where,
            self.kubernetes.namespace if self.kubernetes else None,
            self.port,
            self.scheme,
            self.path,
            self.endpoint,
        )
