"""Estimates the tokens and the cost of an input before anything is sent (pure).

A rough estimate: the length of the answers is unknown, and tokens are counted by the number of characters.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from balancer.endpoint import Endpoint
from balancer.outcome import Usage, tier_of
from balancer.routing import BalancingStrategy
from balancer.routing.model_catalog import ModelCatalog, upstream_model
from balancer.routing.model_routes import NO_ROUTES, ModelRoutes
from balancer.usage.price_class import PriceClass, has_flex
from balancer.usage.pricing import cost_of
from balancer.usage.token_guess import prompt_tokens

__all__ = ["Estimator", "Share", "TokenCount", "answer_tokens", "seconds_of", "spread", "sum_of"]

FIRST_TOKEN_AFTER, TOKENS_A_SECOND = 1.0, 50.0
"""How fast an answer is taken to come: seconds to its first token, and tokens a second after that."""
SPREADS_KEPT = 1024
"""Models whose endpoints are kept at hand; an input may name any number of them."""


@dataclass(frozen=True, slots=True)
class Share:
    """An endpoint's part in the lines for one model, which it knows as `upstream`; the shares of a model add up to 1."""

    endpoint: Endpoint
    upstream: str
    share: float


@dataclass(slots=True)
class TokenCount:
    """Expected sums of tokens, money and time; they are parts of lines too, as a line may go to one endpoint or another. `cost`
    is in USD, without the `unpriced` lines whose price is not known; `flex_cost` is what it were with `price_class: flex`.
    `batch_lines` can be handed in as batches, which cost `batch_cost`, but for the `unpriced_in_batches`. `seconds` is how long
    the lines take, one after the other."""

    lines: float = 0.0
    prompt: float = 0.0
    completion: float = 0.0
    cost: float = 0.0
    unpriced: float = 0.0
    flex_cost: float = 0.0
    batch_lines: float = 0.0
    batch_cost: float = 0.0
    unpriced_in_batches: float = 0.0
    seconds: float = 0.0

    def add(self, share: float, usage: Usage, cost: float | None, flex_cost: float | None) -> None:
        """Add a part of a line."""
        self.lines += share
        self.prompt += share * usage.prompt
        self.completion += share * usage.completion
        self.cost += share * (cost or 0.0)
        self.flex_cost += share * (flex_cost or 0.0)
        self.seconds += share * (FIRST_TOKEN_AFTER + usage.completion / TOKENS_A_SECOND)
        if cost is None:
            self.unpriced += share

    def add_batch(self, share: float, cost: float | None) -> None:
        """Add a part of a line that can be handed in as a batch."""
        self.batch_lines += share
        self.batch_cost += share * (cost or 0.0)
        if cost is None:
            self.unpriced_in_batches += share


def sum_of(tallies: Iterable[TokenCount]) -> TokenCount:
    """Add tallies up."""
    found = list(tallies)
    return TokenCount(**{each.name: math.fsum(getattr(tally, each.name) for tally in found) for each in fields(TokenCount)})


def answer_tokens(body: Mapping[str, Any], cap: int | None, expected: int) -> int:
    """Guess the tokens of an answer: the request's own limit, else what is `expected`, and no more than the endpoint's `cap`;
    for each of the `n` answers that are asked for."""
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if _is_count(body.get(name))]
    tokens = limits[0] if limits else expected
    answers = body["n"] if _is_count(body.get("n")) else 1
    return answers * (tokens if cap is None else min(tokens, cap))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def spread(endpoints: Sequence[Endpoint], strategy: BalancingStrategy, model: str | None) -> tuple[Share, ...]:
    """Say how lines for `model` spread: over the first tier that serves it, by the weights where the strategy looks at them.

    An endpoint whose models are not configured is taken to serve any. Empty if no endpoint serves it.
    """
    catalog = ModelCatalog({endpoint.name: endpoint for endpoint in endpoints})
    serving = [endpoint for endpoint in endpoints if catalog.serves(endpoint.name, model)]
    first = min((e.priority for e in serving), default=0)
    tier = [e for e in serving if e.priority == first]
    weights = [e.weight if strategy is BalancingStrategy.WEIGHTED else 1.0 for e in tier]
    return tuple(Share(e, upstream_model(e, model) or "", w / sum(weights)) for e, w in zip(tier, weights, strict=True))


class Estimator:
    """Feed it the body of each line, then read `by_endpoint`. Its memory does not grow with the input."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        strategy: BalancingStrategy,
        expected_answer: int,
        routes: ModelRoutes = NO_ROUTES,
    ) -> None:
        self._expected = expected_answer
        self._routes = routes
        self._shares = lru_cache(SPREADS_KEPT)(lambda model: spread(endpoints, strategy, model))
        self._sums = {endpoint.name: TokenCount() for endpoint in endpoints}

    @property
    def by_endpoint(self) -> dict[str, TokenCount]:
        """What each endpoint is expected to do."""
        return dict(self._sums)

    def add(self, body: Mapping[str, Any]) -> bool:
        """Take a line in, and say whether any endpoint serves it."""
        shares = next((found for model in self._routes.models_for(body) if (found := self._shares(model))), ())
        prompt = prompt_tokens(body)
        for share in shares:
            completion = answer_tokens(body, share.endpoint.max_tokens, self._expected)
            # Each request is priced by itself, since a large one may cost more a token.
            usage, own = Usage(prompt, completion), tier_of(body)
            flex = own or (PriceClass.FLEX if has_flex(share.endpoint) else "")
            usual = flex if share.endpoint.price_class == PriceClass.FLEX else own
            costs = [cost_of(usage, share.endpoint, share.upstream, tier) for tier in (usual, flex)]
            self._sums[share.endpoint.name].add(share.share, usage, *costs)
        with_batches = [share for share in shares if share.endpoint.batch]
        for share in with_batches:
            usage = Usage(prompt, answer_tokens(body, share.endpoint.max_tokens, self._expected))
            cost = cost_of(usage, share.endpoint, share.upstream, PriceClass.BATCH)
            self._sums[share.endpoint.name].add_batch(1 / len(with_batches), cost)
        return bool(shares)


def seconds_of(tally: TokenCount, endpoint: Endpoint) -> float:
    """Return about how long an endpoint takes for its lines, as many at once as it may have before anything is known of it, and
    no faster than its rates let them pass."""
    by_rates = [0.0]
    if endpoint.rpm:
        by_rates.append(60 * tally.lines / endpoint.rpm)
    if endpoint.tpm:
        by_rates.append(60 * (tally.prompt + tally.completion) / endpoint.tpm)
    return max(tally.seconds / min(endpoint.first_limit, max(1.0, tally.lines)), *by_rates)
