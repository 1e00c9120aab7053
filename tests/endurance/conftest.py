"""Fixtures of the endurance tests: those of the acceptance tests."""

from tests.acceptance.conftest import cluster, cluster_redis_url, prefork

__all__ = ["cluster", "cluster_redis_url", "prefork"]
