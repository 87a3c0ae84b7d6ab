"""The CRC-32 behind the header and behind every chunk."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ..errors import FormatError
from .storage import Source

CRC_BYTES = 4
_AT_ONCE = 1 << 20


def with_crc(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, and their CRC-32 behind them."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
        yield part
    yield crc.to_bytes(CRC_BYTES, "little")


def without_crc(data: bytes, name: str, before: int = 0) -> bytes:
    """The data before its CRC-32, which must be right; `before` is that of what it covers before the data."""
    payload = data[:-CRC_BYTES]
    if zlib.crc32(payload, before) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise damaged(name)
    return payload


def holds_to_the_end(source: Source, start: int, before: int) -> bool:
    """Whether a file ends with the CRC-32 of all from `start` on, with `before` that of what is in front."""
    end = source.size - CRC_BYTES
    for offset in range(start, end, _AT_ONCE):
        before = zlib.crc32(source.read(offset, min(_AT_ONCE, end - offset)), before)
    return end >= start and before.to_bytes(CRC_BYTES, "little") == source.read(end, CRC_BYTES)


def damaged(name: str) -> FormatError:
    """The error for a part of a file, as a person would call it."""
    return FormatError(f"the file is damaged: the checksum of {name} does not match")
