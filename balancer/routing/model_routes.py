"""Resolves the model of a request: names, aliases, chains, and `auto`.

A chain is a name for several models, or several names with commas between them: the first that can answer does. `auto` is the
chain of the tier that the request's difficulty asks for, then those of the harder tiers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from balancer.routing.difficulty import Difficulty, DifficultyRules, difficulty

__all__ = ["AUTO", "NO_ROUTES", "AutoTiers", "ModelRoutes"]

AUTO = "auto"
"""The model name that leaves the choice to the rules."""
SEPARATOR = ","
MOST_MODELS = 16
"""Models in one chain: a longer one would keep a request going round for minutes."""
ANY: tuple[str | None, ...] = (None,)


@dataclass(frozen=True, slots=True)
class AutoTiers:
    """The chains for easy, medium and hard requests, and the rules that tell them apart."""

    chains: Mapping[Difficulty, tuple[str, ...]]
    rules: DifficultyRules = field(default_factory=DifficultyRules)

    def chain(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the models for a request: its own tier's, then those of harder tiers, then of easier ones."""
        order = list(Difficulty)
        own = order.index(difficulty(body, self.rules))
        return tuple(model for tier in (*order[own:], *reversed(order[:own])) for model in self.chains.get(tier, ()))


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """`chains` are aliases and chains by name; `auto` is None where nothing is configured for it."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    auto: AutoTiers | None = None

    def models_for(self, body: Mapping[str, Any]) -> tuple[str | None, ...]:
        """Return the models that may answer a request, best first; `(None,)` if it names none."""
        model, more = body.get("model"), body.get("models")
        if more is None and (model is None or self._is_plain(model)):
            return (model or None,)
        names = [*_names(model), *(_names(more) if isinstance(more, list) else ())]
        found = [m for name in names for m in self._expand(name, body)]
        return tuple(dict.fromkeys(found))[:MOST_MODELS] or ANY

    def _is_plain(self, model: Any) -> bool:
        return (
            isinstance(model, str)
            and model not in self.chains
            and SEPARATOR not in model
            and (model != AUTO or self.auto is None)
        )

    def _expand(self, name: str, body: Mapping[str, Any]) -> Iterable[str]:
        if name in self.chains:
            return self.chains[name]
        return self.auto.chain(body) if name == AUTO and self.auto else (name,)

    def all_behind(self, name: str) -> tuple[str, ...]:
        """Return every model that a request naming `name` may be answered by."""
        found: list[str] = []
        for part in _names(name):
            if part in self.chains:
                found += self.chains[part]
            elif part == AUTO and self.auto:
                found += [model for chain in self.auto.chains.values() for model in chain]
            else:
                found.append(part)
        return tuple(dict.fromkeys(found))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that stand for models and are none themselves."""
        return (*self.chains, *((AUTO,) if self.auto else ()))


def _names(model: Any) -> list[str]:
    parts = model if isinstance(model, list) else [model]
    return [name.strip() for part in parts if isinstance(part, str) for name in part.split(SEPARATOR) if name.strip()]


NO_ROUTES = ModelRoutes()
