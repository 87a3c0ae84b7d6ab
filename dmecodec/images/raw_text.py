"""Text of tags that is not UTF-8: its bytes stay as they are.

A byte that is no UTF-8 is a lone surrogate in Python, as `errors="surrogateescape"` makes it. Libraries that take
UTF-8 alone get a character of a private plane in its place.
"""

from __future__ import annotations

import re

_FIRST_SURROGATE = 0xDC80
_FIRST_STAND_IN = 0xFDC80
_SURROGATES = re.compile("[\udc80-\udcff]")
_STAND_INS = re.compile("[\U000fdc80-\U000fdcff]")


def from_bytes(data: bytes) -> str:
    """The text of some bytes, whatever they are."""
    return data.decode("utf-8", "surrogateescape")


def is_raw(text: str) -> bool:
    """Whether a text has bytes that are no UTF-8."""
    return _SURROGATES.search(text) is not None


def to_stand_ins(text: str) -> str:
    """The text with a character that UTF-8 can hold for each such byte."""
    return _SURROGATES.sub(lambda match: chr(ord(match[0]) - _FIRST_SURROGATE + _FIRST_STAND_IN), text)


def from_stand_ins(text: str) -> str:
    """The inverse."""
    return _STAND_INS.sub(lambda match: chr(ord(match[0]) - _FIRST_STAND_IN + _FIRST_SURROGATE), text)


def restore_bytes(data: bytes) -> bytes:
    """UTF-8 with such characters as the bytes that they stand for."""
    return from_stand_ins(from_bytes(data)).encode("utf-8", "surrogateescape")
