"""Reads from an answer's headers that the endpoint's rate limit is used up, so that nothing is sent that it would refuse (pure).

OpenAI (platform.openai.com/docs/guides/rate-limits) says how long a limit takes to be whole again; Anthropic
(docs.anthropic.com/en/api/rate-limits) says when it is.
"""

import re
import time
from collections.abc import Mapping
from datetime import datetime

__all__ = ["LONGEST", "used_up_for"]

LONGEST = 60.0
"""Seconds for which the word of an answer that went well counts: requests are to find out then."""
_OPENAI = [(f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}") for kind in ("requests", "tokens")]
_ANTHROPIC = [
    (f"anthropic-ratelimit-{kind}-remaining", f"anthropic-ratelimit-{kind}-reset")
    for kind in ("requests", "tokens", "input-tokens", "output-tokens")
]
_LIMITS = (*_OPENAI, *_ANTHROPIC)
"""The headers of each limit: what is left of it, and its reset."""
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def used_up_for(headers: Mapping[str, str], now: float | None = None) -> float:
    """Return the seconds for which the endpoint takes nothing more, at most `LONGEST`; 0 if its limits leave something, or if it
    says nothing of them. The names in `headers` are in lower case; `now` is in seconds since the epoch."""
    longest = 0.0
    for remaining, reset in _LIMITS:
        if headers.get(remaining) == "0":
            longest = max(longest, _seconds(headers.get(reset, ""), time.time() if now is None else now))
    return min(longest, LONGEST)


def _seconds(reset: str, now: float) -> float:
    """Read a duration such as `6m0s` or `120ms`, or a time of RFC 3339; 0 for anything else."""
    if len(reset) > 40:
        return 0.0
    if _DURATION.fullmatch(reset):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(reset))
    try:
        moment = datetime.fromisoformat(reset)
        return max(0.0, moment.timestamp() - now) if moment.tzinfo else 0.0
    except (ValueError, OverflowError):
        return 0.0
