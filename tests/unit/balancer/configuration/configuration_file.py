"""Loads a configuration from its text."""

from pathlib import Path

from balancer.configuration import Configuration, load_configuration

__all__ = ["load"]


def load(config: Path, text: str, **env: str) -> Configuration:
    """Write the text to a file, and load that with these variables."""
    config.write_text(text, encoding="utf-8")
    return load_configuration(config, env)
