"""The stream of the kind BOUND: how far a decoded sample may be from the original."""

from __future__ import annotations

from ..errors import FormatError
from .fields import Fields, varint
from .limits import MAX_BOUND


def bound_stream(bound: int) -> bytes:
    """The stream of a bound in levels."""
    return varint(bound)


def parse_bound(stream: bytes) -> int:
    """The inverse of :func:`bound_stream`.

    Raises:
        FormatError: the stream is not one varint within its limit.
    """
    fields = Fields(stream)
    bound = fields.varint("bound on the error", MAX_BOUND)
    if fields.left:
        raise FormatError("the bound on the error has bytes behind it")
    return bound
