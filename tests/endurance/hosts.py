"""Hosts of one network: namespaces of Linux, each with its own address, behind a bridge in a namespace of its own, which the
machine's firewall leaves alone. Needs root and `ip`."""

import os
import shutil
import subprocess
import sys
from types import TracebackType
from typing import Self

from api_roadbalancer.processes.ports import free_port
from tests.acceptance.cluster import Cluster, ModelServer
from tests.waiting import until

__all__ = ["Hosts", "can_make_hosts", "start_model"]

NETWORK = "10.77.0"


def can_make_hosts() -> bool:
    """Whether this process may make network namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Hosts:
    """Use as a context manager: `address` of each host by its number, from 1, and `command` to run something there."""

    def __init__(self, count: int) -> None:
        self._tag = f"rb{os.getpid() % 100_000}"
        self._count = count

    def address(self, number: int) -> str:
        return f"{NETWORK}.{number}"

    def command(self, number: int, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self._name(number), *arguments]

    def lose(self, number: int) -> None:
        """From now on drop all that a host sends out of its network: for the others, it has vanished."""
        _ip("-n", self._name(number), "route", "add", "blackhole", f"{NETWORK}.254/32")

    def _name(self, number: int) -> str:
        return f"{self._tag}-{number}"

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self._tag)
            _ip("-n", self._tag, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._tag, "link", "set", "bridge", "up")
            _ip("link", "add", self._tag, "type", "veth", "peer", "name", "here", "netns", self._tag)
            _ip("addr", "add", f"{NETWORK}.254/24", "dev", self._tag)
            _ip("link", "set", self._tag, "up")
            _ip("-n", self._tag, "link", "set", "here", "master", "bridge", "up")
            for number in range(1, self._count + 1):
                self._make(number)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _make(self, number: int) -> None:
        host = self._name(number)
        _ip("netns", "add", host)
        _ip("-n", self._tag, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", host)
        _ip("-n", self._tag, "link", "set", host, "master", "bridge", "up")
        _ip("-n", host, "addr", "add", f"{self.address(number)}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", host, "link", "set", device, "up")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for name in (*(self._name(number) for number in range(1, self._count + 1)), self._tag):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._tag], check=False, capture_output=True)


async def start_model(cluster: Cluster, hosts: Hosts, host: int, latency: float = 0.2, max_concurrency: int = 24) -> ModelServer:
    """Start a model server on a host and make it an endpoint."""
    port = free_port()
    command = hosts.command(host, sys.executable, "-P", "-m", "api_roadbalancer.mock", "--host", "0.0.0.0", "--port", str(port))
    log = cluster.folder / f"model-{host}.log"
    server = ModelServer([*command, "--latency", str(latency)], log, port=port, host=hosts.address(host))
    server.start()
    cluster.processes.append(server)
    cluster.settings["endpoints"].append({"name": f"host-{host}", "url": server.url, "max_concurrency": max_concurrency})
    await until(server.answers, what=f"model server {host}")
    return server


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
