"""Lossless coding of the alpha band of one tile.

Alpha is mostly constant (opaque, or a mask of valid pixels), so a constant tile is one byte and
any other is differenced and deflated. `docs/format.md` is the normative description.
"""

from __future__ import annotations

import zlib

import numpy as np

from ..errors import FormatError

# Bits of the filter byte, which is the first byte of every stream longer than one byte.
ALONG_ROWS = 0x01
ALONG_COLUMNS = 0x02

RAW_DEFLATE = -15


def encode_alpha(pixels: np.ndarray) -> bytes:
    """Code one tile of alpha, with the filter that makes it smallest.

    Args:
        pixels: uint8 (height, width), at least one pixel.

    Returns:
        The tile's ALPHA stream.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.size == 0:
        raise ValueError(f"alpha is uint8 (height, width), not {pixels.dtype} {pixels.shape}")
    first = int(pixels[0, 0])
    if (pixels == first).all():
        return bytes([first])
    candidates = (
        bytes([filters]) + _deflate(_difference(pixels, filters).tobytes())
        for filters in (0, ALONG_ROWS, ALONG_COLUMNS, ALONG_ROWS | ALONG_COLUMNS)
    )
    return min(candidates, key=len)


def decode_alpha(data: bytes, height: int, width: int) -> np.ndarray:
    """Decode one tile of alpha.

    Args:
        data: The tile's ALPHA stream.
        height: Height of the tile in pixels, clipped to the image.
        width: Width of the tile in pixels, clipped to the image.

    Returns:
        uint8 (height, width).

    Raises:
        FormatError: The stream does not hold exactly height x width pixels. No more than these
            are ever inflated.
    """
    if not data:
        raise FormatError("an alpha stream is empty")
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    filters = data[0]
    if filters & ~(ALONG_ROWS | ALONG_COLUMNS):
        raise FormatError(f"unknown filter {filters} of an alpha stream")
    values = np.frombuffer(_inflate(data[1:], height * width), np.uint8)
    return _undo_difference(values.reshape(height, width), filters)


def _difference(pixels: np.ndarray, filters: int) -> np.ndarray:
    """Each pixel less its neighbour before it, modulo 256; outside the tile is 0."""
    if filters & ALONG_ROWS:
        pixels = np.diff(pixels, axis=1, prepend=np.uint8(0))
    if filters & ALONG_COLUMNS:
        pixels = np.diff(pixels, axis=0, prepend=np.uint8(0))
    return pixels


def _undo_difference(values: np.ndarray, filters: int) -> np.ndarray:
    """Running sums modulo 256. Rows and columns commute, so their order does not matter."""
    pixels = values.copy()
    if filters & ALONG_COLUMNS:
        np.cumsum(pixels, axis=0, dtype=np.uint8, out=pixels)
    if filters & ALONG_ROWS:
        np.cumsum(pixels, axis=1, dtype=np.uint8, out=pixels)
    return pixels


def _deflate(values: bytes) -> bytes:
    # Raw: the container's checksum makes zlib's header and checksum superfluous.
    deflater = zlib.compressobj(level=9, method=zlib.DEFLATED, wbits=RAW_DEFLATE, memLevel=9)
    return deflater.compress(values) + deflater.flush()


def _inflate(data: bytes, count: int) -> bytes:
    """Exactly `count` bytes. One more is asked for to see that the stream ends there."""
    inflater = zlib.decompressobj(wbits=RAW_DEFLATE)
    try:
        values = inflater.decompress(data, count + 1)
    except zlib.error as error:
        raise FormatError(f"an alpha stream is damaged: {error}") from error
    if len(values) != count or not inflater.eof or inflater.unused_data:
        raise FormatError(f"an alpha stream does not hold exactly {count} pixels")
    return values
