"""`routes` and `auto`: aliases, chains of models, and models by difficulty."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from balancer.configuration.fields import Checked
from balancer.routing.difficulty import Difficulty, DifficultyRules
from balancer.routing.model_routes import AUTO, MOST_MODELS, SEPARATOR, AutoTiers, ModelRoutes

__all__ = ["AutoEntry", "Routes", "routes_as_settings", "routes_of"]

_RULES = {rule.name: rule.default for rule in fields(DifficultyRules) if rule.name != "words"}
_MOST_WORDS = 100


def _list_of(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _models(models: list[str]) -> list[str]:
    for model in models:
        if not model.strip() or SEPARATOR in model or model == AUTO:
            raise ValueError("names the models of a chain one by one, without commas; `auto` is none of them")
    return models


Chain = Annotated[list[str], BeforeValidator(_list_of), AfterValidator(_models), Field(min_length=1, max_length=MOST_MODELS)]


def _plain_names(routes: dict[str, list[str]]) -> dict[str, list[str]]:
    for name in routes:
        if not name.strip() or SEPARATOR in name or name == AUTO or len(name) > 128:
            raise ValueError("the name of a route is 1 to 128 characters without commas, and not `auto`")
    return routes


Routes = Annotated[dict[str, Chain], AfterValidator(_plain_names)]
"""Name -> a model, or a chain of them."""


def _known_rules(rules: dict[str, int]) -> dict[str, int]:
    for name, value in rules.items():
        if name not in _RULES:
            raise ValueError(f"{name!r} is no rule; they are {', '.join(_RULES)}")
        if value < 0:
            raise ValueError(f"{name} must not be negative")
    return rules


def _own_words(words: dict[str, int]) -> dict[str, int]:
    if len(words) > _MOST_WORDS:
        raise ValueError(f"has {len(words)} words; at most {_MOST_WORDS} can be given")
    for word, value in words.items():
        if not word.strip() or len(word) > 100:
            raise ValueError("a word has 1 to 100 characters")
        if value < 0:
            raise ValueError(f"the points of {word!r} must not be negative")
    return {word.lower(): value for word, value in words.items()}


class AutoEntry(Checked):
    """`auto`: the chains by difficulty, the rules that differ from the usual ones, and points for words of one's own."""

    model_config = ConfigDict(extra="forbid")

    easy: Chain | None = None
    medium: Chain | None = None
    hard: Chain | None = None
    rules: Annotated[dict[str, int], AfterValidator(_known_rules)] = Field(default_factory=dict)
    words: Annotated[dict[str, int], AfterValidator(_own_words)] = Field(default_factory=dict)

    def tiers(self) -> AutoTiers | None:
        """Return the tiers; None where no model is named."""
        chains = {Difficulty.EASY: self.easy, Difficulty.MEDIUM: self.medium, Difficulty.HARD: self.hard}
        named = {tier: tuple(chain) for tier, chain in chains.items() if chain}
        return AutoTiers(named, DifficultyRules(**self.rules, words=self.words)) if named else None


def routes_of(routes: Mapping[str, list[str]], auto: AutoEntry | None) -> ModelRoutes:
    """Return the routes that a file has."""
    return ModelRoutes({name: tuple(chain) for name, chain in routes.items()}, auto.tiers() if auto else None)


def routes_as_settings(routes: ModelRoutes) -> dict[str, Any]:
    """Return the keys of a file that say the same."""
    settings: dict[str, Any] = {}
    if routes.chains:
        settings["routes"] = {name: list(chain) for name, chain in routes.chains.items()}
    if routes.auto:
        rules = {name: value for name, value in asdict(routes.auto.rules).items() if value != _RULES.get(name, value)}
        words = dict(routes.auto.rules.words)
        chains = {str(tier): list(chain) for tier, chain in routes.auto.chains.items()}
        settings["auto"] = {**chains, **({"rules": rules} if rules else {}), **({"words": words} if words else {})}
    return settings
