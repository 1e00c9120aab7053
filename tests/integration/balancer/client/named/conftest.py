"""Providers that answer, and an environment without keys of anyone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_providers import FAKE_PROVIDERS, ProviderServer

PROVIDERS = {"openai": "openai", "claude": "anthropic", "gemini": "gemini"}
"""The name of a client -> its provider."""


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI", "CLAUDE", "ANTHROPIC", "GEMINI", "LAAS", "LLM_", "DEFAULT_", "ROADBALANCER_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=sorted(PROVIDERS))
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, ProviderServer]]:
    """A client's name, and a server with its provider's format."""
    with ProviderServer(FAKE_PROVIDERS[PROVIDERS[request.param]]) as server:
        yield request.param, server
