"""Estimates how many tokens a text has, without a tokenizer.

The weights were fitted to OpenAI's o200k_base and Mistral's Tekken (240911) over English, Korean, Japanese and Chinese prose,
code and JSON: the texts, with their counts, are in tests/unit/balancer/usage.
"""

import string

__all__ = ["tokens_in"]

_PUNCTUATION, _DIGIT, _TWO_BYTES, _SOUTH_ASIAN, _MARK, _KANA, _HAN, _HANGUL, _EMOJI = range(1, 10)
"""Classes of bytes: ASCII's punctuation and digits, and the first bytes of other characters in UTF-8. That of kana is also the
first one of marks of Chinese and Japanese (U+3000 to U+303F)."""
_OF_WORDS, _OF_PUNCTUATION, _OF_DIGITS = 1.0, 0.96, 0.5
"""Tokens for each word, and for each character outside of words. In English text, most tokens are words."""
_OF_HAN_IN_JAPANESE, _OF_HAN_IN_CHINESE, _OF_KANA, _OF_HANGUL = 1.15, 0.82, 0.57, 0.38
_OF_MARKS, _OF_TWO_BYTES, _OF_SOUTH_ASIAN, _OF_EMOJI = 0.9, 0.35, 0.6, 1.5
_MOST_BYTES = 5
"""Bytes of a token on average, at most. Words of more bytes, such as a text in base64, have several."""
_CJK_MARKS = b"\xe3\x80"


def _class_of(byte: int) -> int:
    if byte < 0x80:
        return _PUNCTUATION if chr(byte) in string.punctuation else _DIGIT if chr(byte).isdigit() else 0
    firsts = (
        (0xC2, 0xE0, _TWO_BYTES),
        (0xE0, 0xE2, _SOUTH_ASIAN),
        (0xE2, 0xE3, _MARK),
        (0xE3, 0xE4, _KANA),
        (0xE4, 0xEA, _HAN),
        (0xEA, 0xEE, _HANGUL),
        (0xEF, 0xF0, _MARK),
        (0xF0, 0xF5, _EMOJI),
    )
    return next((kind for start, end, kind in firsts if start <= byte < end), 0)


_CLASSES = bytes(map(_class_of, range(256)))


def tokens_in(text: str) -> float:
    """Return about how many tokens a text has; 0 for an empty one. A text of 4 kB takes some 50 us."""
    raw = text.encode("utf-8", "surrogatepass")
    classes = raw.translate(_CLASSES)
    tokens = _OF_WORDS * len(text.split())
    tokens += _OF_PUNCTUATION * classes.count(_PUNCTUATION) + _OF_DIGITS * classes.count(_DIGIT)
    if not raw.isascii():
        tokens += _beyond_ascii(raw, classes)
    return max(tokens, len(raw) / _MOST_BYTES)


def _beyond_ascii(raw: bytes, classes: bytes) -> float:
    marks = raw.count(_CJK_MARKS)
    kana, han = classes.count(_KANA) - marks, classes.count(_HAN)
    # The same characters take more tokens in Japanese, where they stand alone among kana, than in Chinese.
    of_han = _OF_HAN_IN_JAPANESE if 4 * kana > han else _OF_HAN_IN_CHINESE
    return (
        _OF_KANA * kana
        + of_han * han
        + _OF_HANGUL * classes.count(_HANGUL)
        + _OF_MARKS * (classes.count(_MARK) + marks)
        + _OF_TWO_BYTES * classes.count(_TWO_BYTES)
        + _OF_SOUTH_ASIAN * classes.count(_SOUTH_ASIAN)
        + _OF_EMOJI * classes.count(_EMOJI)
    )
