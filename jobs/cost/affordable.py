"""Bounds the open lines of a job by what is left under the cap on its cost and in the budgets of its key (pure).

A line is paid when it is answered, so that every open line is a liability. A job that had as many lines open as usual when its
cap is reached would overrun it by all of these. So it has no more lines open than `SHARE` of what is left pays for, at what lines
have cost lately; near the end of the money they become fewer, down to one at a time.
"""

import math
from dataclasses import dataclass

__all__ = ["FEWEST_LINES", "GUESSED_OUTPUT", "SpendingRoom", "affordable_lines"]

SHARE = 1 / 3
"""Of what is left: the rest is for open lines that cost more than those before, as in an input that is sorted by length."""
FEWEST_LINES = 8
"""Recorded lines from which on their cost alone counts; before, a higher guess does."""
GUESSED_OUTPUT = 1_000
"""Tokens of an answer, while none is known."""


@dataclass(frozen=True, slots=True)
class SpendingRoom:
    """What a job may spend still (nanodollars; infinite without cap and budget); what a line has cost `lately`, over the lines
    `recorded` under them; and the `guess` at it."""

    left: float
    lately: float
    recorded: int
    guess: float

    @property
    def line(self) -> float:
        """The likely cost of a line in nanodollars."""
        return self.lately if self.recorded >= FEWEST_LINES else max(self.lately, self.guess)


def affordable_lines(room: SpendingRoom) -> float:
    """Return how many lines a job may have open; any number without a cap or a budget."""
    if room.left == math.inf or room.line <= 0:
        return math.inf
    return math.floor(SHARE * max(0, room.left) / room.line)
