"""A class that takes whatever asks a model as a callable. Nothing here changes for the load balancer (see injection.py)."""

from collections.abc import Callable

Ask = Callable[[str], str]
"""Takes a prompt and returns the answer."""


class Translator:
    """Translates texts. It doesn't know who answers."""

    def __init__(self, ask: Ask, language: str) -> None:
        self._ask = ask
        self._language = language

    def translate(self, text: str) -> str:
        return self._ask(f"Translate into {self._language}: {text}")
