"""Every Redis key that the balancer uses."""

__all__ = ["health", "limit", "models", "rate_limit", "slot_turns", "slots", "usage", "usage_flush"]

PREFIX = "rb:endpoint:"


def slots(endpoint: str) -> str:
    """Hash of process -> `allowed:wanted:expires_ms`: who may have how many requests in flight."""
    return f"{PREFIX}{endpoint}:slots"


def slot_turns(endpoint: str) -> str:
    """Sorted set of the processes that wait for their first slot, by the time (ms) they began to."""
    return f"{PREFIX}{endpoint}:slots:turns"


def health(endpoint: str) -> str:
    """Hash of what is known of an endpoint's health: circuit, failures, latency, last error."""
    return f"{PREFIX}{endpoint}:health"


def limit(endpoint: str) -> str:
    """Hash of what is known of how many requests an endpoint can take at once (see state/concurrency)."""
    return f"{PREFIX}{endpoint}:auto_limit"


def models(endpoint: str) -> str:
    """Set of the models that the endpoint last listed."""
    return f"{PREFIX}{endpoint}:models"


def rate_limit(endpoint: str) -> str:
    """Hash of the token bucket for requests and tokens per minute."""
    return f"{PREFIX}{endpoint}:budget"


def usage(day: str) -> str:
    """Hash of row -> tally: what was used on one day (`2026-01-31`, UTC). See `tally` for both."""
    return f"rb:usage:{day}"


def usage_flush(meter: str) -> str:
    """Number of the last flush of one meter that has been taken in."""
    return f"rb:usage:flush:{meter}"
