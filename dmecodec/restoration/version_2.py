"""The FILTER stream of files of version 2: a signed Exp-Golomb code in which 0 is a single bit.

Later files have the coefficients in the Y stream (`prior.py`). They come by radius, then by detail, then by axis, bits
lowest first in each byte. Bits beyond the end are 0, and so are the coefficients that they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import FormatError
from .details import DETAILS
from .prior import LARGEST

_MAX_BYTES = -(-3 * DETAILS * (2 * LARGEST.bit_length() + 1) // 8)


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
        self._bits: Iterator[int] = iter(np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little").tolist())

    def take(self) -> int:
        """The next bit."""
        self.left = max(0, self.left - 1)
        return next(self._bits, 0)

    def rest(self) -> bool:
        """Whether one of those left is set."""
        return any(self._bits)
