"""Fixtures of the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cluster import Cluster
from tests.acceptance.prefork import Prefork
from tests.acceptance.shell import Shell


@pytest.fixture(scope="session")
def prefork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefork]:
    """What starts the clusters' processes."""
    starter = Prefork(tmp_path_factory.mktemp("prefork"))
    yield starter
    starter.close()


@pytest.fixture
def cluster(tmp_path: Path, prefork: Prefork) -> Iterator[Cluster]:
    """A cluster with Redis running; everything of it ends with the test."""
    made = Cluster(tmp_path, prefork)
    made.start_redis()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def shell(tmp_path: Path, prefork: Prefork) -> Shell:
    """Runs commands in the test's folder."""
    return Shell(tmp_path, prefork)
