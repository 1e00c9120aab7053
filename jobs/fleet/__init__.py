"""The fleet as it changes while it runs: endpoints that are added, drained and removed, and those that are found (`discover`)."""

from jobs.fleet.discoverer import Discoverer

__all__ = ["Discoverer"]
