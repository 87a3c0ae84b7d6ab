"""The stream of the kind BOUND, which only files of version 1 have: how far a sample may be from the original."""

from __future__ import annotations

from ..errors import FormatError
from .fields import Fields
from .limits import MAX_BOUND


def parse_bound(stream: bytes) -> int:
    """The bound in levels.

    Raises:
        FormatError: the stream is not one varint within its limit.
    """
    fields = Fields(stream)
    bound = fields.varint("bound on the error", MAX_BOUND)
    if fields.left:
        raise FormatError("the bound on the error has bytes behind it")
    return bound
