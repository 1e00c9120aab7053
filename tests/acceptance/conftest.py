"""Fixtures of the acceptance tests."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api_roadbalancer.processes import embedded, supervisor
from tests.acceptance.cluster import Cluster, ModelServer
from tests.acceptance.prefork import ALWAYS, Prefork
from tests.acceptance.shell import Shell


@pytest.fixture(scope="session")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefork]:
    """What starts the clusters' processes, and the children of runs within a test."""
    starter = Prefork(tmp_path_factory.mktemp("prefork"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "start_process", starter.starting.start_child)
        patch.setattr(embedded, "FSYNC", ALWAYS)
        yield starter
    starter.close()


@pytest.fixture
def cluster_redis_url() -> str | None:
    """The Redis of the cluster; None for one of its own. Modules with other servers override this."""
    return None


@pytest.fixture
def cluster(tmp_path: Path, prefork: Prefork, cluster_redis_url: str | None) -> Iterator[Cluster]:
    """A cluster with Redis running; everything of it ends with the test."""
    made = Cluster(tmp_path, prefork)
    if cluster_redis_url is None:
        made.start_redis()
    else:
        made.settings["redis_url"] = cluster_redis_url
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def shell(tmp_path: Path, prefork: Prefork) -> Shell:
    """Runs commands in the test's folder."""
    return Shell(tmp_path, prefork)


@pytest.fixture
def program_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefork: Prefork) -> Path:
    """The current folder of a program that is this process: empty, and without any configuration in the environment."""
    for name in [name for name in os.environ if name.startswith(("LLM_", "ROADBALANCER_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "program"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
async def model(tmp_path: Path, program_folder: Path) -> AsyncIterator[ModelServer]:
    """A simulated model server, for a program that names it by its address."""
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster")
    yield await cluster.start_model("m", latency=0.02)
    cluster.end()
