"""The virtual GeoTIFF of a scene as an answer to an HTTP request for all of it, or for a range."""

from __future__ import annotations

import re
from dataclasses import dataclass

STEP = 1 << 20
"""Bytes that are decoded at once."""


class NoRangeError(ValueError):
    """No byte of the file lies in the range."""


@dataclass(frozen=True)
class Span:
    """Bytes of a file, from `first` on.

    Attributes:
        first, count: which.
        is_part: whether a range was asked for.
    """

    first: int
    count: int
    is_part: bool

    def steps(self) -> list[tuple[int, int]]:
        """Offset and count of each part that is read at once."""
        ends = range(self.first, self.first + self.count, STEP)
        return [(first, min(STEP, self.first + self.count - first)) for first in ends]


def parse_range(header: str | None, size: int) -> Span:
    """What a Range header asks for; one that is not understood, or of several ranges, asks for the whole file.

    Raises:
        NoRangeError: it begins behind the end of the file.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", header or "")
    if found is None or found[1] == found[2] == "":
        return Span(0, size, False)
    if not found[1]:  # the last bytes
        first, last = max(0, size - int(found[2])), size - 1
    else:
        first, last = int(found[1]), min(int(found[2] or size), size - 1)
        if found[2] and int(found[2]) < first:
            return Span(0, size, False)
    if first >= size or last < first:
        raise NoRangeError(f"the file has {size} bytes")
    return Span(first, last + 1 - first, True)
