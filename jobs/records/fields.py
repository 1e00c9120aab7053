"""Values as Redis hashes hold them."""

__all__ = ["NANO", "Fields", "decode_fields", "number_or_none", "text_or_empty", "to_nano"]

Fields = dict[str, str]
NANO = 1_000_000_000
"""Amounts of money are kept in billionths of a dollar, which are whole numbers and add up exactly."""


def decode_fields(fields: dict[bytes, bytes]) -> Fields:
    """Decode a Redis hash of text."""
    return {name.decode(): value.decode() for name, value in fields.items()}


def to_nano(usd: float) -> int:
    """Return an amount as it is kept in Redis."""
    return round(usd * NANO)


def text_or_empty(value: int | None) -> str:
    """Return a number as text, and None as none."""
    return "" if value is None else str(value)


def number_or_none(text: str | None) -> int | None:
    """Read what `text_or_empty` made."""
    return int(text) if text else None
