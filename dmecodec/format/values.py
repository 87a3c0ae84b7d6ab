"""What samples of 16 bits stand for where a raster holds another type: value = offset + scale x sample."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from ..errors import FormatError
from .fields import Fields

TYPES = ("int8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float32", "float64")
"""Types of values, in the order of their codes in a file."""
_HAS_FILL, _HAS_NODATA = 0x01, 0x02
_NEWER = "the file needs a newer dmecodec; please upgrade"


@dataclass(frozen=True, eq=False)
class ValueMap:
    """How a band's samples become values of its own type.

    Attributes:
        type: one of `TYPES`.
        scale: what one step of a sample is worth, in the band's own unit.
        offset: the value of sample 0.
        fill: the value of samples that are not valid, which may be NaN or infinite; None where there are none.
        nodata: the nodata value that the raster declares, whether or not a sample has it.

    Raises:
        FormatError: the type is unknown, or scale or offset cannot be.
    """

    type: str
    scale: float
    offset: float
    fill: float | None = None
    nodata: float | None = None

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise FormatError(f"values of type {self.type}: {_NEWER}")
        if not (0 < self.scale < math.inf and math.isfinite(self.offset)):
            raise FormatError(f"values of {self.offset} + {self.scale} x sample are not possible")

    def __eq__(self, other: object) -> bool:
        """By bytes: a fill of NaN is equal to itself."""
        return isinstance(other, ValueMap) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """As the BANDS stream holds it."""
        flags = _HAS_FILL * (self.fill is not None) | _HAS_NODATA * (self.nodata is not None)
        numbers = [self.scale, self.offset, *(value for value in (self.fill, self.nodata) if value is not None)]
        return bytes([TYPES.index(self.type), flags]) + struct.pack(f"<{len(numbers)}d", *numbers)


def parse_map(fields: Fields) -> ValueMap:
    """The map that comes next.

    Raises:
        FormatError: it is cut short, or a field of it is unknown or impossible.
    """
    code, flags = fields.byte("type of values"), fields.byte("flags of values")
    if code >= len(TYPES):
        raise FormatError(f"unknown type of values {code}: {_NEWER}")
    if flags & ~(_HAS_FILL | _HAS_NODATA):
        raise FormatError(f"unknown flags 0x{flags:02x} of values: {_NEWER}")
    scale, offset = _number(fields), _number(fields)
    fill = _number(fields) if flags & _HAS_FILL else None
    nodata = _number(fields) if flags & _HAS_NODATA else None
    return ValueMap(TYPES[code], scale, offset, fill, nodata)


def _number(fields: Fields) -> float:
    return struct.unpack("<d", fields.take(8, "map of values"))[0]
