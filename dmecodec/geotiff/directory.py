"""Directories of a TIFF: taken from a file that GDAL has written, and laid out one after the other."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..errors import OutputError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type."""
_LONG8 = 16


class Tag(IntEnum):
    """The tags that are read or set here."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    LENGTH = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    SAMPLES = 277
    PLANAR = 284
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    GDAL_NODATA = 42113


@dataclass(frozen=True)
class Field:
    """One field of a directory: type and number of its values, and their bytes, little-endian."""

    type: int
    count: int
    data: bytes


Directory = dict[int, Field]
"""Fields by tag."""


def short(value: int) -> Field:
    """A field of one 16-bit number."""
    return Field(3, 1, struct.pack("<H", value))


def long(value: int) -> Field:
    """A field of one 32-bit number."""
    return Field(4, 1, struct.pack("<I", value))


def numbers(values: np.ndarray, *, big: bool) -> Field:
    """A field of many numbers, of 64 or 32 bits."""
    return Field(_LONG8 if big else 4, len(values), values.astype("<u8" if big else "<u4").tobytes())


def first_directory(data: bytes) -> Directory:
    """The first directory of a little-endian BigTIFF.

    Raises:
        OutputError: it is none.
    """
    if data[:8] != b"II\x2b\0\x08\0\0\0":
        raise OutputError("GDAL has written another kind of TIFF than it was asked for")
    (start,) = struct.unpack_from("<Q", data, 8)
    (count,) = struct.unpack_from("<Q", data, start)
    found: Directory = {}
    for place in range(start + 8, start + 8 + 20 * count, 20):
        tag, kind, values = struct.unpack_from("<HHQ", data, place)
        length = _SIZES[kind] * values
        offset = place + 12 if length <= 8 else struct.unpack_from("<Q", data, place + 12)[0]
        found[tag] = Field(kind, values, data[offset : offset + length])
    return found


def laid_out(directories: Sequence[Directory], *, big: bool) -> bytes:
    """A TIFF, or a BigTIFF, of these directories, each with its values behind it. No pixels."""
    head = b"II\x2b\0\x08\0\0\0" if big else b"II\x2a\0"
    number, inline = ("<Q", 8) if big else ("<I", 4)
    file = bytearray(head + struct.pack(number, len(head) + inline))
    for index, directory in enumerate(directories):
        entries, values = bytearray(), bytearray()
        size = (8 + 20 * len(directory) + 8) if big else (2 + 12 * len(directory) + 4)
        behind = len(file) + size
        for tag, field in sorted(directory.items()):
            data = field.data
            if len(data) > inline:
                place = behind + len(values)
                values += data + bytes(-len(data) % 8)
                data = struct.pack(number, place)
            entries += struct.pack("<HHQ" if big else "<HHI", tag, field.type, field.count) + data.ljust(inline, b"\0")
        last = index == len(directories) - 1
        following = 0 if last else _aligned(behind + len(values))
        file += struct.pack("<Q" if big else "<H", len(directory)) + entries + struct.pack(number, following) + values
        file += bytes(0 if last else following - len(file))
    return bytes(file)


def _aligned(offset: int) -> int:
    return -(-offset // 8) * 8
