"""Fixtures of the endurance tests: those of the acceptance tests."""

from tests.acceptance.conftest import cluster, prefork

__all__ = ["cluster", "prefork"]
