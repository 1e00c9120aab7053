"""Estimates the difficulty of a chat request for `model: auto`, from its form alone (pure).

Each sign gives points: length, code, tools, pictures and documents, a schema for the answer, reasoning asked for. The sum is
compared with two bounds. The rules stand in the configuration, so that each user can draw the line where their models need it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Difficulty", "DifficultyRules", "difficulty", "points"]

_CODE_SIGNS = ("```", "Traceback (most recent call last)", "#include", "def ", "class ", "function(", "SELECT ", "</")
_REASONING = {"medium": "reasoning", "high": "much_reasoning", "xhigh": "much_reasoning", "max": "much_reasoning"}


class Difficulty(StrEnum):
    """Which tier of models should answer."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


@dataclass(frozen=True, slots=True)
class DifficultyRules:
    """Points for each sign, and the sums from which a request counts as medium and as hard. Lengths are characters of text."""

    long: int = 4_000
    very_long: int = 40_000
    many_turns: int = 10
    points_long: int = 1
    points_very_long: int = 2
    points_many_turns: int = 1
    points_code: int = 1
    points_tools: int = 1
    points_media: int = 1
    points_schema: int = 1
    points_reasoning: int = 2
    points_much_reasoning: int = 3
    medium_from: int = 1
    hard_from: int = 3


def difficulty(body: Mapping[str, Any], rules: DifficultyRules) -> Difficulty:
    """Return the difficulty of a chat request."""
    sum_of_points = sum(points(body, rules).values())
    if sum_of_points >= rules.hard_from:
        return Difficulty.HARD
    return Difficulty.MEDIUM if sum_of_points >= rules.medium_from else Difficulty.EASY


def points(body: Mapping[str, Any], rules: DifficultyRules) -> dict[str, int]:
    """Return the points that a chat request gets, by sign. A malformed one gets few: its endpoint will say what is wrong."""
    texts = list(_texts(body))
    length = sum(map(len, texts))
    messages = body.get("messages")
    reasoning = _REASONING.get(str(body.get("reasoning_effort") or _effort(body.get("reasoning"))), "")
    signs = {
        "long": rules.points_long if rules.long <= length < rules.very_long else 0,
        "very_long": rules.points_very_long if length >= rules.very_long else 0,
        "many_turns": rules.points_many_turns if isinstance(messages, list) and len(messages) >= rules.many_turns else 0,
        "code": rules.points_code if any(sign in text for text in texts for sign in _CODE_SIGNS) else 0,
        "tools": rules.points_tools if body.get("tools") or body.get("functions") else 0,
        "media": rules.points_media if any(part.get("type") != "text" for part in _parts(body)) else 0,
        "schema": rules.points_schema if _is_schema(body.get("response_format")) else 0,
        "reasoning": rules.points_reasoning if reasoning == "reasoning" else 0,
        "much_reasoning": rules.points_much_reasoning if reasoning == "much_reasoning" else 0,
    }
    return {sign: number for sign, number in signs.items() if number}


def _effort(reasoning: Any) -> Any:
    return reasoning.get("effort") if isinstance(reasoning, dict) else None


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
