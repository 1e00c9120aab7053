"""Estimates beside the counts of two tokenizers: tiktoken's o200k_base and mistral-common's tekken_240911."""

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from balancer.usage.token_estimate import tokens_in
from balancer.usage.token_guess import prompt_tokens

SAMPLES = [orjson.loads(line) for line in (Path(__file__).parent / "token_samples.jsonl").read_bytes().splitlines()]
BY_LANGUAGE: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
for _sample in SAMPLES:
    BY_LANGUAGE[_sample["language"]].append(_sample)


@pytest.mark.parametrize("tokenizer", ["o200k_base", "tekken"])
@pytest.mark.parametrize(
    ("language", "bound"), [("english", 0.1), ("korean", 0.2), ("japanese", 0.2), ("chinese", 0.2), ("code", 0.3)]
)
def test_estimates_are_near_the_counts_of_tokenizers(language: str, bound: float, tokenizer: str) -> None:
    samples = BY_LANGUAGE[language]
    counted, estimated = sum(s[tokenizer] for s in samples), sum(tokens_in(s["text"]) for s in samples)
    assert estimated == pytest.approx(counted, rel=bound)


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_each_text_is_estimated_between_the_tokenizers_or_near_them(number: int) -> None:
    sample = SAMPLES[number]
    low, high = sorted((sample["o200k_base"], sample["tekken"]))
    assert 0.88 * low <= tokens_in(sample["text"]) <= 1.12 * high


@pytest.mark.parametrize("language", sorted(BY_LANGUAGE))
def test_an_estimate_takes_little_time(language: str) -> None:
    text = "\n".join(s["text"] for s in BY_LANGUAGE[language] * 20).encode()[:4096].decode(errors="ignore")
    best = min(_seconds(text) for _ in range(50))
    assert best < 100e-6


def _seconds(text: str) -> float:
    started = time.perf_counter()
    tokens_in(text)
    return time.perf_counter() - started


@pytest.mark.parametrize(("text", "tokens"), [("", 0.0), ("word", 1.0), ("\ud800", 0.0), ("A" * 1600, 320.0), ("🙂", 2.5)])
def test_odd_texts(text: str, tokens: float) -> None:
    assert tokens_in(text) == pytest.approx(tokens, abs=2.0)


def test_the_text_of_a_request_is_estimated_by_its_language() -> None:
    [korean] = BY_LANGUAGE["korean"][:1]
    body = {
        "messages": [{"role": "system", "content": korean["text"]}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    }
    assert prompt_tokens(body) == pytest.approx(korean["o200k_base"] + 1, rel=0.1)
