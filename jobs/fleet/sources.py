"""Names and files that can be asked for endpoints. Each source returns the settings of those that there are now, by name.

A source that can't be asked raises SourceFailed, and what it has found before stays.
"""

import asyncio
import glob
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from balancer.configuration.discovery import is_service_name
from balancer.configuration.values import Discovery
from balancer.endpoint import default_name

__all__ = ["TIMEOUT", "Found", "SourceFailed", "at_address", "endpoints_of", "failing_as_source"]

Found = dict[str, dict[str, Any]]

TIMEOUT = 5.0
"""Seconds that a source may take to answer."""


class SourceFailed(OSError):
    """A source can't be asked, or has answered nothing that can be used."""


@contextmanager
def failing_as_source() -> Iterator[None]:
    """Make what a source fails with a SourceFailed."""
    try:
        yield
    except (OSError, UnicodeError, httpx.HTTPError, yaml.YAMLError, KeyError, TypeError, ValueError) as exc:
        raise SourceFailed(str(exc) or type(exc).__name__) from exc


async def endpoints_of(source: Discovery) -> Found:
    """Return the endpoints that a name or files have now. Raises SourceFailed."""
    with failing_as_source():
        return await (_by_dns(source) if source.kind == "dns" else asyncio.to_thread(_in_files, source))


async def _by_dns(source: Discovery) -> Found:
    """Return one endpoint for each address (A and AAAA records) of a name, or each server of a service (SRV records)."""
    if is_service_name(source.where):
        return await _by_srv(source)
    assert source.port is not None
    answers = await asyncio.get_running_loop().getaddrinfo(source.where, source.port, type=socket.SOCK_STREAM)
    return dict(at_address(source, str(address[0]), source.port) for *_, address in answers)


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


def at_address(source: Discovery, address: str, port: int) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings of the endpoint at an IP address."""
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
