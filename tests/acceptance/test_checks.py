"""Answers that have to pass checks: what does not is asked for again, priced, and never among the results."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

import roadbalancer as rb
from balancer.outcome import FailureKind, Usage
from tests.fake_providers import FAKE_PROVIDERS, ProviderServer
from tests.fake_providers.base import Ending, ReceivedRequest, Reply, Script

LINES = 400
USAGE = Usage(prompt=10, completion=5)
PRICE = {"input": 1000.0, "output": 2000.0}
COST = (USAGE.prompt * 1000 + USAGE.completion * 2000) / 1e6


class Review(BaseModel):
    stars: int
    reason: str


class Careless:
    """A model of whose first answers 5 % are broken JSON, 2 % are cut off and 1 % are empty; of its second ones too."""

    def __init__(self) -> None:
        self._turn = itertools.count()
        self.given: Counter[str] = Counter()
        self.hopeless = ""

    def __call__(self, received: ReceivedRequest) -> Script:
        turn = next(self._turn) % 100
        text, ending = '{"stars": 4, "reason": "fine"}', Ending.STOP
        if self.hopeless and self.hopeless in str(received.turns[0]):
            text, kind = "no JSON at all", "hopeless"
        elif turn < 5:
            text, kind = '{"stars": 4, "rea', "broken"
        elif turn < 7:
            text, ending, kind = '{"stars": 4,', Ending.LENGTH, "cut"
        elif turn < 8:
            text, kind = "", "empty"
        else:
            kind = "good"
        self.given[kind] += 1
        return Script(text, ending=ending, usage=USAGE)


@pytest.fixture
def careless(program_folder: Path) -> Any:
    answering = Careless()
    with ProviderServer(FAKE_PROVIDERS["openai"], answering) as server:
        endpoint = server.endpoint()
        entry = {"url": endpoint.url, "provider": "openai", "api_key": endpoint.api_key, "models": ["m"], "price": PRICE}
        (program_folder / "fleet.json").write_bytes(orjson.dumps({"endpoints": [{**entry, "name": "e", "max_concurrency": 16}]}))
        yield answering


def test_nothing_that_does_not_pass_is_in_the_output_and_each_attempt_is_priced(careless: Careless) -> None:
    rows = [{"text": f"row {n}"} for n in range(LINES)]
    fields = {"max_tokens": 50}
    options: dict[str, Any] = {"config": "fleet.json", "model": "m", "workers": 1, "progress": False, "fields": fields}
    reviews = rb.run(
        rows, prompt="Rate: {text}", schema=Review, checks=[{"finish_reason": "stop"}], recheck={"attempts": 5}, **options
    )
    assert reviews.errors == {} and len(reviews) == LINES
    assert all(isinstance(review, Review) and review.stars == 4 for review in reviews)
    bad = sum(careless.given[kind] for kind in ("broken", "cut", "empty"))
    assert careless.given["good"] == LINES and bad >= LINES * 0.08
    assert reviews.cost == pytest.approx((LINES + bad) * COST), "each attempt is paid for"
    assert sum(row["attempts"] for row in reviews.rows) == LINES + bad
    assert sum(row["cost"] for row in reviews.rows) == pytest.approx((LINES + bad) * COST)


def test_what_never_passes_is_an_error_line_with_its_last_answer(careless: Careless) -> None:
    careless.hopeless = "lamp"
    reviews = rb.run(
        ["lamp", "chair"], schema=Review, config="fleet.json", model="m", workers=1, progress=False, recheck={"attempts": 4}
    )
    assert reviews[0] is None and isinstance(reviews[1], Review)
    assert "the answer does not pass 'schema': it is not JSON" in reviews.errors[0]
    assert careless.given["hopeless"] == 5
    assert reviews.rows[0]["attempts"] == 5 and reviews.rows[0]["cost"] == pytest.approx(5 * COST)
    found = [orjson.loads(line) for path in Path("data/files").glob("*/content") for line in path.read_bytes().splitlines()]
    (line,) = [line for line in found if (line.get("error") or {}).get("code") == "check_failed"]
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "no JSON at all"
    assert [each["code"] for each in line["failed_attempts"]] == ["check_failed"] * 5


def test_what_was_paid_before_a_line_had_to_wait_stays_counted(program_folder: Path) -> None:
    """A rejected answer, then an endpoint that fails until the line waits for its next pass, then a good answer."""
    turns = itertools.count(1)
    with ProviderServer(FAKE_PROVIDERS["openai"]) as server:
        broken = server.fake.fail(FailureKind.SERVER)
        assert broken is not None

        def answer(received: ReceivedRequest) -> Script | Reply:
            turn = next(turns)
            if turn == 1:
                return Script("no JSON", usage=USAGE)
            return broken if turn <= 3 else Script('{"stars": 4, "reason": "fine"}', usage=USAGE)

        server.answer = answer
        endpoint = server.endpoint()
        entry = {"url": endpoint.url, "provider": "openai", "api_key": endpoint.api_key, "models": ["m"], "price": PRICE}
        (program_folder / "fleet.json").write_bytes(orjson.dumps({"endpoints": [{**entry, "name": "e"}]}))
        reviews = rb.run(["lamp"], schema=Review, config="fleet.json", model="m", workers=1, progress=False)
    assert isinstance(reviews[0], Review), reviews.errors
    assert reviews.cost == pytest.approx(2 * COST) and reviews.rows[0]["cost"] == pytest.approx(2 * COST)
    assert reviews.tokens.prompt == 2 * USAGE.prompt
