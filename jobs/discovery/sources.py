"""What can be asked for endpoints. Each source returns the settings of those that there are now, by name.

A source that can't be asked raises SourceFailed, and what it has found before stays.
"""

import asyncio
import glob
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import yaml

from balancer.configuration.discovery import is_service_name
from balancer.configuration.environment import environment
from balancer.configuration.values import Discovery
from balancer.endpoint import default_name

__all__ = ["Found", "SourceFailed", "endpoints_of"]

Found = dict[str, dict[str, Any]]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its token, its namespace and the API's certificate authority
(kubernetes.io/docs/tasks/run-application/access-api-from-pod)."""
TIMEOUT = 5.0


class SourceFailed(OSError):
    """A source can't be asked, or has answered nothing that can be used."""


async def endpoints_of(source: Discovery) -> Found:
    """Return the endpoints that a source has now. Raises SourceFailed."""
    try:
        match source.kind:
            case "dns":
                return await _by_dns(source)
            case "file":
                return await asyncio.to_thread(_in_files, source)
            case "kubernetes":
                return await _in_kubernetes(source)
    except (OSError, UnicodeError, httpx.HTTPError, yaml.YAMLError, KeyError, TypeError, ValueError) as exc:
        raise SourceFailed(str(exc) or type(exc).__name__) from exc


async def _by_dns(source: Discovery) -> Found:
    """Return one endpoint for each address (A and AAAA records) of a name, or each server of a service (SRV records)."""
    if is_service_name(source.where):
        return await _by_srv(source)
    assert source.port is not None
    answers = await asyncio.get_running_loop().getaddrinfo(source.where, source.port, type=socket.SOCK_STREAM)
    return dict(_at_address(source, str(address[0]), source.port) for *_, address in answers)


async def _by_srv(source: Discovery) -> Found:
    """Return one endpoint for each SRV record, with its weight (0 is the least) and its priority as the tier (RFC 2782)."""
    import dns.asyncresolver  # 40 ms, which most fleets don't need
    import dns.exception

    try:
        answer = await dns.asyncresolver.resolve(source.where, "SRV", lifetime=TIMEOUT, search=True)
    except dns.exception.DNSException as exc:
        raise SourceFailed(str(exc)) from exc
    found: Found = {}
    for record in answer:
        host, port = record.target.to_text(omit_final_dot=True), source.port or record.port
        name = f"{host}-{port}".replace(".", "-")
        ranked = {"priority": record.priority, "weight": max(1, record.weight)}
        found[name] = {**ranked, **source.endpoint, "url": f"{source.scheme}://{host}:{port}{source.path}", "name": name}
    return found


def _at_address(source: Discovery, address: str, port: int) -> tuple[str, dict[str, Any]]:
    host = f"[{address}]" if ":" in address else address
    name = f"{source.where}-{address}".replace(":", "-").replace(".", "-")
    return name, {**source.endpoint, "url": f"{source.scheme}://{host}:{port}{source.path}", "name": name}


def _in_files(source: Discovery) -> Found:
    """Return the endpoints in the files of a pattern: each has an entry of `endpoints`, or a list of them."""
    found: Found = {}
    for path in sorted(glob.glob(source.where)):
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        for entry in content if isinstance(content, list) else [content] if content else []:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("url"), str):
                raise ValueError(f"{path}: each endpoint is a mapping with a `url`")
            name = str(entry.get("name") or default_name(entry["url"].rstrip("/")))
            if name in found:
                raise ValueError(f"{path}: there are two endpoints named {name!r}")
            found[name] = {**source.endpoint, **entry, "name": name}
    return found


async def _in_kubernetes(source: Discovery) -> Found:
    """Return one endpoint for each ready address of a service (EndpointSlices, discovery.k8s.io/v1)."""
    namespace = source.namespace or (SERVICE_ACCOUNT / "namespace").read_text().strip()
    env = environment()
    api = f"https://{env['KUBERNETES_SERVICE_HOST']}:{env['KUBERNETES_SERVICE_PORT']}"
    path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace)}/endpointslices"
    headers = {"authorization": f"Bearer {(SERVICE_ACCOUNT / 'token').read_text().strip()}"}
    trusted = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
    async with httpx.AsyncClient(verify=trusted, timeout=TIMEOUT, trust_env=False) as client:
        answer = await client.get(
            api + path, params={"labelSelector": f"kubernetes.io/service-name={source.where}"}, headers=headers
        )
    answer.raise_for_status()
    found: Found = {}
    for slice_ in orjson.loads(answer.content)["items"]:
        port = source.port or int(slice_["ports"][0]["port"])
        for endpoint in slice_["endpoints"] or []:
            # "A nil value should be interpreted as true" (the field `conditions.ready`).
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                found |= dict(_at_address(source, address, port) for address in endpoint["addresses"])
    return found
