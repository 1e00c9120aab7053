"""Creates and hashes the secrets of API keys.

A secret is 256 bits of chance, so guessing is hopeless, and a plain SHA-256 keeps it: slow password hashes are for
what people think up, and would cost a request more than its answer. Secrets of `ROADBALANCER_API_KEYS` are as good as their owner
made them; their digests stay in the memory of the process.
"""

import hashlib
import secrets

__all__ = ["LONGEST_SECRET", "PREFIX", "digest_of", "id_of_digest", "new_key_id", "new_secret"]

PREFIX = "rb-"
LONGEST_SECRET = 512
"""Characters; whatever is longer is no secret of ours and is not even hashed."""
ID_LENGTH = 24
"""Hexadecimal digits of a key's id."""


def new_secret() -> str:
    """Return a secret such as `rb-Zx3…`: 32 random bytes, in 43 letters."""
    return PREFIX + secrets.token_urlsafe(32)


def new_key_id() -> str:
    """Return an id such as `key_5d…`. It is public: what belongs to the key bears it."""
    return f"key_{secrets.token_hex(ID_LENGTH // 2)}"


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal digits. Takes any text, such as bytes of a header that are no UTF-8."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def id_of_digest(digest: str) -> str:
    """Return the id of a key that has no record: it is the same in every process and after a restart."""
    return f"key_{digest[:ID_LENGTH]}"
