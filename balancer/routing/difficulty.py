"""Estimates the difficulty of a chat request for `model: auto`, from its form and its words (pure).

Each sign gives points: what the last message from the user asks for, code, formulas, terms of a field, length, tools, pictures
and documents, a schema for the answer, reasoning asked for. The sum is compared with two bounds. The rules are configurable, so
that each user can set the bounds for their models. `examples/difficulty.jsonl` has labelled requests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from balancer.routing.difficulty_signs import WINDOW, ends, read_signs

__all__ = ["Difficulty", "DifficultyRules", "difficulty", "points"]

_REASONING = {"medium": "reasoning", "high": "much_reasoning", "xhigh": "much_reasoning", "max": "much_reasoning"}
MEDIUM_THINKING = 8_192
"""Tokens of Anthropic's `thinking` that stand for a medium effort at most."""


class Difficulty(StrEnum):
    """Which tier of models should answer."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class DifficultyRules:
    """Points for each sign, and the sums from which a request counts as medium and as hard.

    Lengths are characters of text, and a character of Korean, Chinese or Japanese counts as two. `most_terms` are the different
    terms of a field that count. `words` are points for words of one's own, found anywhere in the text, in lower case.
    """

    long: int = 3_000
    very_long: int = 40_000
    many_turns: int = 10
    most_terms: int = 2
    points_long: int = 1
    points_very_long: int = 2
    points_many_turns: int = 1
    points_task: int = 1
    points_analysis: int = 2
    points_proof: int = 3
    points_formula: int = 2
    points_term: int = 1
    points_code: int = 1
    points_tools: int = 1
    points_media: int = 1
    points_schema: int = 1
    points_reasoning: int = 2
    points_much_reasoning: int = 3
    medium_from: int = 1
    hard_from: int = 3
    words: Mapping[str, int] = field(default_factory=dict)


def difficulty(body: Mapping[str, Any], rules: DifficultyRules) -> Difficulty:
    """Return the difficulty of a chat request."""
    sum_of_points = sum(points(body, rules).values())
    if sum_of_points >= rules.hard_from:
        return Difficulty.HARD
    return Difficulty.MEDIUM if sum_of_points >= rules.medium_from else Difficulty.EASY


def points(body: Mapping[str, Any], rules: DifficultyRules) -> dict[str, int]:
    """Return the points that a chat request gets, by sign. A malformed one gets few: its endpoint will say what is wrong."""
    signs = _of_form(body, rules) | _of_text(_last_question(body), rules)
    return {sign: number for sign, number in signs.items() if number}


def _of_form(body: Mapping[str, Any], rules: DifficultyRules) -> dict[str, int]:
    length = sum(_length(text, rules.very_long) for text in _texts(body))
    messages = body.get("messages")
    reasoning = _reasoning(body)
    return {
        "long": rules.points_long if rules.long <= length < rules.very_long else 0,
        "very_long": rules.points_very_long if length >= rules.very_long else 0,
        "many_turns": rules.points_many_turns if isinstance(messages, list) and len(messages) >= rules.many_turns else 0,
        "tools": rules.points_tools if body.get("tools") or body.get("functions") else 0,
        "media": rules.points_media if any(part.get("type") != "text" for part in _parts(body)) else 0,
        "schema": rules.points_schema if _is_schema(body.get("response_format")) else 0,
        "reasoning": rules.points_reasoning if reasoning == "reasoning" else 0,
        "much_reasoning": rules.points_much_reasoning if reasoning == "much_reasoning" else 0,
    }


def _of_text(text: str, rules: DifficultyRules) -> dict[str, int]:
    signs = read_signs(text)
    own = {"words": _of_own_words(text, rules.words)} if rules.words else {}
    if signs.question and not (signs.proof or signs.analysis or signs.code or signs.formula):
        return own
    return {
        **own,
        "proof": rules.points_proof * signs.proof,
        "analysis": rules.points_analysis * signs.analysis,
        "task": rules.points_task * signs.task,
        "formula": rules.points_formula * signs.formula,
        "term": rules.points_term * min(signs.terms, rules.most_terms),
        "code": rules.points_code * signs.code,
    }


def _of_own_words(text: str, words: Mapping[str, int]) -> int:
    searched = ends(text, WINDOW).lower()
    return sum(number for word, number in words.items() if word in searched)


def _length(text: str, enough: int) -> int:
    """Return the length of a text; of one with `enough` characters that is known without looking at them."""
    if len(text) >= enough:
        return len(text)
    # A character of Korean, Chinese or Japanese is three bytes, and says about as much as two or three Latin letters.
    return len(text) if text.isascii() else (len(text) + len(text.encode("utf-8", "surrogatepass"))) // 2


def _last_question(body: Mapping[str, Any]) -> str:
    """Return the text of the last message from the user."""
    for message in reversed(list(_messages(body))):
        if message.get("role") == "user":
            return "\n".join(_texts({"messages": [message]}))
    return ""


def _reasoning(body: Mapping[str, Any]) -> str:
    """Return the sign of the effort that a request asks for: in OpenAI's field, in that of `/v1/responses`, or in Anthropic's."""
    effort = body.get("reasoning_effort") or _field(body.get("reasoning"), "effort")
    budget = _field(body.get("thinking"), "budget_tokens")
    if not effort and type(budget) is int:
        return "reasoning" if budget <= MEDIUM_THINKING else "much_reasoning"
    return _REASONING.get(str(effort), "")


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _is_schema(response_format: Any) -> bool:
    return isinstance(response_format, dict) and response_format.get("type") == "json_schema"


def _messages(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield message


def _parts(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in _messages(body):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                yield part


def _texts(body: Mapping[str, Any]) -> Iterator[str]:
    for message in _messages(body):
        if isinstance(message.get("content"), str):
            yield message["content"]
    for part in _parts(body):
        if isinstance(part.get("text"), str):
            yield part["text"]
