"""Finds endpoints while the fleet runs: by DNS, in files, in Kubernetes (see `discover` in docs/configuration.md)."""

from jobs.discovery.discoverer import Discoverer

__all__ = ["Discoverer"]
