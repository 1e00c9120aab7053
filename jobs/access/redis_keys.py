"""Every Redis key that API keys use."""

__all__ = ["KEYS", "NAMES", "USED", "budgets", "http_limits", "leases", "limits", "reserved", "spent"]

KEYS = "rb:keys"
"""Hash of a secret's digest -> the key's record (JSON). Revoked keys stay in it, so that it never empties by itself."""
NAMES = "rb:keys:names"
"""Hash of name -> id, of the keys that are not revoked: what makes names unique."""
USED = "rb:keys:used"
"""Hash of id -> when the key was last used (s), to the minute."""


def budgets(key_id: str) -> str:
    """Hash: what bounds the key's jobs (see jobs/storage/lua/pausing.lua): nano-dollars a `day` and a `month`, and `revoked`."""
    return f"rb:budgets:{key_id}"


def limits(key_id: str) -> str:
    """Hash: the key's token buckets (see lua/admit.lua); expires when they are full again."""
    return f"rb:limits:{key_id}"


def http_limits(key_id: str) -> str:
    """Hash: the token bucket of the key's HTTP requests, as `limits`."""
    return f"rb:limits:{key_id}:http"


def leases(key_id: str) -> str:
    """Sorted set of the key's requests under way (their leases) by the time (ms) at which they are taken for dead."""
    return f"rb:parallel:{key_id}"


def reserved(key_id: str) -> str:
    """Hash: nanodollars that are reserved for the key's requests under way, by lease, and their `total`."""
    return f"rb:reserved:{key_id}"


def spent(key_id: str, period: str) -> str:
    """Counter: nano-dollars that the key spent in a day (`2026-03-09`) or a month (`2026-03`), by UTC; expires."""
    return f"rb:spent:{key_id}:{period}"
