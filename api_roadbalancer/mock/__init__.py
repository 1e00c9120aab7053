"""A simulated OpenAI-compatible model server, for trying things out, for tests and for benchmarks.

It answers from the prompt alone, breaks on demand, and counts exactly what it was sent.
"""

from api_roadbalancer.mock.behaviour import Behaviour, BehaviourError, Fault
from api_roadbalancer.mock.server import MockServer, run, serve

__all__ = ["Behaviour", "BehaviourError", "Fault", "MockServer", "run", "serve"]
