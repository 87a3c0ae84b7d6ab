"""The CRC-32 behind the header and behind every chunk."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ..errors import FormatError

CRC_BYTES = 4


def with_crc(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, and the CRC-32 of all of them behind them."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
        yield part
    yield crc.to_bytes(CRC_BYTES, "little")


def without_crc(data: bytes, name: str) -> bytes:
    """The data before its CRC-32.

    Args:
        data: a part of a file and its CRC-32.
        name: of the part, for the message.

    Raises:
        FormatError: the CRC-32 does not match.
    """
    payload = data[:-CRC_BYTES]
    if zlib.crc32(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise FormatError(f"the file is damaged: the checksum of {name} does not match")
    return payload
