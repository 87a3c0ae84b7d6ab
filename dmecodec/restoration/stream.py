"""Coefficients to bytes and back: a signed Exp-Golomb code in which 0 is a single bit.

The coefficients come by radius, then by detail, then by axis, bits lowest first in each byte. Bits beyond the end
are 0, and so are the coefficients they stand for: the rare ones of large radii cost nothing where there are none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import FormatError
from .details import DETAILS

LARGEST = 255
"""A coefficient is within -255 to 255, in steps of 1/32."""
_MAX_BYTES = -(-3 * DETAILS * (2 * LARGEST.bit_length() + 1) // 8)


def code_lengths(values: np.ndarray) -> np.ndarray:
    """Bits of each coefficient, int64: 1 for 0, else 3 and two for each doubling."""
    magnitude = np.abs(values)
    return np.where(magnitude == 0, 1, 2 * np.frexp(magnitude)[1] + 1)


def to_bytes(coefficients: np.ndarray) -> bytes:
    """The stream of int coefficients (3, 12); empty where all are 0.

    Raises:
        ValueError: where one is out of range.
    """
    if np.abs(coefficients).max() > LARGEST:
        raise ValueError("a coefficient of the restoration filter is out of range")
    bits: list[int] = []
    for value in coefficients.T.ravel().tolist():
        length = abs(value).bit_length()
        bits += [1] * length + [0]
        bits += [abs(value) >> n & 1 for n in range(length - 1)]
        bits += [int(value < 0)] if value else []
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes().rstrip(b"\0")


def from_bytes(stream: bytes) -> np.ndarray:
    """Int coefficients (3, 12).

    Raises:
        FormatError: where no encoder writes such a stream.
    """
    if len(stream) > _MAX_BYTES:
        raise FormatError("damaged: a restoration filter with bytes too many")
    bits = _Bits(stream)
    values = [_value(bits) for _ in range(3 * DETAILS)]
    if bits.left >= 8 or bits.rest() or stream.endswith(b"\0"):
        raise FormatError("damaged: a restoration filter with bytes too many")
    return np.array(values).reshape(DETAILS, 3).T


def _value(bits: _Bits) -> int:
    length = 0
    while bits.take():
        length += 1
        if length > LARGEST.bit_length():
            raise FormatError("damaged: a coefficient of a restoration filter is out of range")
    if not length:
        return 0
    magnitude = 1 << (length - 1)
    magnitude += sum(bits.take() << n for n in range(length - 1))
    return -magnitude if bits.take() else magnitude


class _Bits:
    """The bits of a stream, lowest first in each byte, then zeros."""

    def __init__(self, stream: bytes) -> None:
        self.left = 8 * len(stream)
        self._bits: Iterator[int] = iter(
            np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little").tolist()
        )

    def take(self) -> int:
        """The next bit."""
        self.left = max(0, self.left - 1)
        return next(self._bits, 0)

    def rest(self) -> bool:
        """Whether one of those left is set."""
        return any(self._bits)
