"""Whole systems to attack: `roadbalancer up` on this machine, and the Compose file in Docker. Each asks for a key of its own, and
answers with simulated models."""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import redis
import yaml

from api_roadbalancer.processes.ports import free_port
from tests.waiting import until_blocking

__all__ = ["Compose", "System", "Up"]

ROOT = Path(__file__).parents[2]
CAP = 100
"""Tokens that the endpoint `capped` answers with at most, whatever a request asks for."""
START_SECONDS = 60.0


class System(ABC):
    """What the attacks need to know. `api` and `flower` are URLs, `login` Flower's user and password."""

    api: str
    flower: str
    key: str = ""
    login: tuple[str, str] = ("", "")

    @abstractmethod
    def memory(self) -> int:
        """Bytes that the API's process has."""

    @abstractmethod
    def flush_redis(self) -> None:
        """Have Redis lose everything."""

    @abstractmethod
    def exposed(self) -> list[str]:
        """Say what other users of the machine, or the network, could reach."""

    def wait_until_ready(self) -> None:
        until_blocking(lambda: self._answers(f"{self.api}/health/ready"), START_SECONDS, "the API")
        until_blocking(lambda: self._answers(f"{self.flower}/healthcheck"), START_SECONDS, "Flower")

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            return httpx.get(url, trust_env=False, timeout=3).status_code == 200
        except httpx.HTTPError:
            return False


class Up(System):
    """`roadbalancer up` in a folder of its own; without keys if `has_key` is False."""

    def __init__(self, folder: Path, has_key: bool = True) -> None:
        self._folder = folder
        ports = free_port(), free_port()
        self.api, self.flower = (f"http://127.0.0.1:{port}" for port in ports)
        self.key = secrets.token_urlsafe(24) if has_key else ""
        self.login = ("attack", secrets.token_urlsafe(12))
        simulated = [{"name": "capped", "url": "mock://capped?latency=0.02", "models": ["simulated", "slow"], "max_tokens": CAP}]
        settings = {"store": str(folder / "data"), "endpoints": simulated}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LLM_", "ROADBALANCER_", "OPENAI_", "FLOWER_"))}
        if has_key:
            environment |= {"ROADBALANCER_API_KEYS": self.key, "FLOWER_BASIC_AUTH": ":".join(self.login)}
        command = [sys.executable, "-m", "api_roadbalancer", "up", "--config", "config.yaml", "--workers", "1"]
        command += ["--port", str(ports[0]), "--flower-port", str(ports[1])]
        self._log = (folder / "up.log").open("wb")
        # An umask that lets everybody read: what is private has to be made so.
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self._log, stderr=self._log, umask=0)

    @property
    def _redis(self) -> dict[str, object]:
        address: dict[str, object] = orjson.loads((self._folder / "data" / "redis" / "address.json").read_bytes())
        return address

    def memory(self) -> int:
        port = int(self.api.rpartition(":")[2])
        for process in psutil.Process(self._process.pid).children(recursive=True):
            words = process.cmdline()
            if "api" in words and str(port) in words:
                return int(process.memory_info().rss)
        raise AssertionError("the API's process is gone")

    def flush_redis(self) -> None:
        with redis.Redis.from_url(str(self._redis["url"])) as client:
            client.flushall()

    def exposed(self) -> list[str]:
        store = self._folder / "data"
        found = [str(path) for path in [store, *store.iterdir()] if path.is_dir() and stat.S_IMODE(path.stat().st_mode) & 0o077]
        port = int(str(self._redis["url"]).rpartition(":")[2].partition("/")[0])
        connections: list[Any] = psutil.net_connections("tcp")
        listening = {c.laddr.ip for c in connections if c.status == "LISTEN" and c.laddr.port == port}
        found += [f"Redis listens on {address}" for address in listening - {"127.0.0.1"}]
        try:
            with redis.Redis(port=port, socket_timeout=2) as client:
                client.ping()
            found.append("Redis wants no password")
        except redis.AuthenticationError:
            pass
        return found

    def stop(self) -> list[str]:
        """End it as a service manager does, and say what is left."""
        left = self._redis["pid"]
        self._process.terminate()
        code = self._process.wait(30)
        self._log.close()
        found = [] if code in (0, 130, 143) else [f"up ended with {code}"]
        return found + (["Redis was left behind"] if psutil.pid_exists(int(str(left))) else [])

    @classmethod
    @contextmanager
    def started(cls, has_key: bool = True) -> Iterator["Up"]:
        """Start one, and end it."""
        folder = Path(tempfile.mkdtemp(prefix="roadbalancer-attack-"))
        made = cls(folder, has_key)
        try:
            made.wait_until_ready()
            yield made
        finally:
            if made._process.poll() is None:
                made.stop()
            shutil.rmtree(folder)


class Compose(System):
    """docker-compose.yml, built and brought up under a name of its own. Needs Docker."""

    def __init__(self) -> None:
        self._project = f"roadbalancer-attack-{os.getpid()}"
        ports = free_port(), free_port()
        self.api, self.flower = (f"http://127.0.0.1:{port}" for port in ports)
        self.key = secrets.token_urlsafe(24)
        self.login = ("attack", secrets.token_urlsafe(12))
        self._environment = {
            **os.environ,
            "ROADBALANCER_IMAGE": "roadbalancer:attack",
            "ROADBALANCER_CONFIG_FILE": "./examples/docker.yaml",
            "ROADBALANCER_API_KEYS": self.key,
            "ROADBALANCER_PORT": str(ports[0]),
            "FLOWER_PORT": str(ports[1]),
            "FLOWER_BASIC_AUTH": ":".join(self.login),
        }
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
        self._command = ["docker", "compose"] if has_plugin else ["docker-compose"]

    def _docker(self, *arguments: str) -> str:
        return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def _compose(self, *arguments: str) -> str:
        command = [*self._command, "-p", self._project, *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    def _container(self, service: str) -> str:
        return self._compose("ps", "-q", service)

    def memory(self) -> int:
        pid = int(self._docker("inspect", "-f", "{{.State.Pid}}", self._container("api")))
        return int(psutil.Process(pid).memory_info().rss)

    def flush_redis(self) -> None:
        # The services' user may not flush.
        delete = "import redis; r = redis.from_url(open('/access/url').read().strip()); [r.delete(key) for key in r.scan_iter()]"
        self._compose("exec", "-T", "api", "python", "-c", delete)

    def exposed(self) -> list[str]:
        found = []
        if published := self._docker("port", self._container("redis")):
            found.append(f"Redis is published: {published}")
        for service in ("api", "worker", "flower"):
            if self._compose("exec", "-T", service, "python", "-c", "import os; print(os.getuid())") == "0":
                found.append(f"{service} runs as root")
        modes = "import os; print(*(oct(os.stat(p).st_mode & 0o77) for p in ('/data/store',)))"
        if self._compose("exec", "-T", "api", "python", "-c", modes) != "0o0":
            found.append("/data/store can be read by others")
        return found

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Compose"]:
        """Build and start it, and end it."""
        made = cls()
        options = os.environ.get("BUILD_OPTIONS", "").split()
        made._docker("build", "-q", *options, "-t", "roadbalancer:attack", str(ROOT))
        try:
            made._compose("up", "-d")
            made.wait_until_ready()
            yield made
        finally:
            made._compose("down", "-v", "--remove-orphans")
