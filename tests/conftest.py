"""What all tests share: one real embedded server for the session, emptied for each test."""

import functools
import gc
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import redis as sync_redis
from hypothesis import settings

from api_roadbalancer.processes.embedded import EmbeddedRedis
from balancer.state.redis_connection import AsyncRedis, open_redis

# Not part of `make test`: `vllm` needs servers that are given to it, `endurance` takes long, `console` needs a browser,
# `litellm`, `clients` and `helm` have environments of their own. Each has its command in the Makefile.
collect_ignore = ["clients", "console", "frameworks", "helm", "litellm"]
collect_ignore += [] if os.environ.get("VLLM_URLS") or os.environ.get("VLLM_POOLING_URL") else ["vllm"]
collect_ignore += [] if os.environ.get("ENDURANCE") else ["endurance"]


# The same examples in every run, and no time limit for one: other tests run beside it.
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

create_default_context = ssl.create_default_context
_with_authorities = functools.cache(lambda file: create_default_context(cafile=file))


def _context(purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH, **options: Any) -> ssl.SSLContext:
    if options.keys() == {"cafile"} and options["cafile"] in (certifi.where(), os.environ.get("SSL_CERT_FILE")):
        return _with_authorities(options["cafile"])
    return create_default_context(purpose, **options)


# To read these certificates takes 28 ms, for each client of httpx. Others change their contexts, which no two may share.
ssl.create_default_context = _context  # type: ignore[assignment]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, and keep it away from them after that: they stay until the end. Each
    process saves two seconds of the seventeen that it takes to collect them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="module")
def nothing_left_open() -> Iterator[None]:
    """Have the garbage collector find what the module's tests left open: its warning is an error of the module, not of whichever
    test runs when the collector next starts by itself. What is in use beyond the module stays (modules, caches), and is not gone
    through again: that took a tenth of the tests' time."""
    yield
    gc.collect()
    gc.freeze()


MIXED_BY = 0.85
"""Share of a process's other tests among which its waiting ones are spread: what is left to the end is short."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests that wait for processes evenly over those that compute, where several processes share them (pytest-xdist
    gives each an equal part of the list, from its beginning)."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes == 1:
        return
    waiting = [item for item in items if "acceptance" in item.path.parts]
    others = [item for item in items if "acceptance" not in item.path.parts]
    # Tests of a module share its fixtures.
    modules = [list(tests) for _, tests in itertools.groupby(waiting, key=lambda item: item.path)]
    bounds = [len(others) * number // processes for number in range(processes + 1)]
    items[:] = []
    for number in range(processes):
        part = [item for tests in modules[number::processes] for item in tests]
        items += _mixed(part, others[bounds[number] : bounds[number + 1]])


def _mixed(waiting: list[pytest.Item], others: list[pytest.Item]) -> list[pytest.Item]:
    """Put some of `waiting` between the modules of `others`; within one, fixtures are shared."""
    mixed: list[pytest.Item] = []
    placed, before = 0, None
    for number, item in enumerate(others):
        due = round(len(waiting) * min(1.0, number / (MIXED_BY * len(others))))
        if item.path != before and due > placed:
            mixed += waiting[placed:due]
            placed = due
        mixed.append(item)
        before = item.path
    return mixed + waiting[placed:]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server. It keeps nothing on a disk: what makes a job or a key would wait for that, up to a second each
    time, as it does in tests/acceptance."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    url = server.start()
    with sync_redis.Redis.from_url(url) as client:
        client.config_set("appendonly", "no")
    yield url
    server.stop()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The URL of the real server, emptied."""
    with sync_redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[AsyncRedis]:
    """A client of the emptied server."""
    client = open_redis(redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    """A folder for an object store."""
    return tmp_path / "store"
