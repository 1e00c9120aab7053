"""The HTTP side: OpenAI-compatible files and batches, bulk jobs, and what the fleet is doing."""

from producer_api.app import create_app
from producer_api.server import run_api

__all__ = ["create_app", "run_api"]
