"""Fixtures of the acceptance tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.cluster import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with Redis running; everything of it ends with the test."""
    made = Cluster(tmp_path)
    made.start_redis()
    try:
        yield made
    finally:
        made.end()
