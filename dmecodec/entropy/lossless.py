"""Lossless coding of one tile of alpha, or of the mask of its valid samples.

Both are mostly constant, so a constant tile is one byte and any other is differenced and deflated. A mask is coded as
alpha with a bit for each band. `docs/format.md` is normative.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ..errors import FormatError

# Bits of the filter byte, the first byte of a stream of more than one byte.
ALONG_ROWS = 0x01
ALONG_COLUMNS = 0x02

RAW_DEFLATE = -15


def encode_alpha(pixels: np.ndarray) -> bytes:
    """Encodes the ALPHA stream of one tile, with the filter that makes it smallest.

    Args:
        pixels: uint8 (height, width), at least one pixel.

    Raises:
        ValueError: the array has another dtype or shape.
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
    """Decodes the ALPHA stream of one tile.

    Args:
        data: the stream.
        height, width: size of the tile in pixels, clipped to the image.

    Returns:
        uint8 (height, width).

    Raises:
        FormatError: the stream does not hold exactly height x width pixels. It never inflates more than one byte
            beyond them.
    """
    if not data:
        raise FormatError("damaged: an alpha stream is empty")
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    filters = data[0]
    if filters & ~(ALONG_ROWS | ALONG_COLUMNS):
        raise FormatError(f"damaged: unknown filter {filters} of an alpha stream")
    values = np.frombuffer(_inflate(data[1:], height * width), np.uint8)
    return _undo_difference(values.reshape(height, width), filters)


def encode_mask(valid: np.ndarray) -> bytes:
    """Encodes the MASK stream of one tile and group.

    Args:
        valid: which samples are valid, bool (height, width, 1 to 3 bands).
    """
    bits = np.array([1, 2, 4], np.uint8)[: valid.shape[2]]
    return encode_alpha((valid * bits).sum(2, dtype=np.uint8))


def decode_mask(stream: bytes, height: int, width: int, nodata: Sequence[bool]) -> np.ndarray:
    """Decodes the MASK stream of one tile and group.

    Args:
        stream: the stream.
        height, width: size of the tile in pixels, clipped to the image.
        nodata: whether each band has a nodata value.

    Returns:
        bool (height, width, bands).

    Raises:
        FormatError: the stream is damaged, has more bands, or has invalid samples in a band without nodata.
    """
    bands = len(nodata)
    try:
        bits = decode_alpha(stream, height, width)
    except FormatError as error:
        raise FormatError(str(error).replace("an alpha stream", "a mask stream")) from error
    if (bits >> bands).any():
        raise FormatError(f"damaged: a mask stream has more than {bands} bands")
    always_valid = sum(1 << i for i in range(bands) if not nodata[i])
    if (~bits & always_valid).any():
        raise FormatError("damaged: a mask stream has invalid samples in a band without nodata")
    return (bits[..., None] >> np.arange(bands, dtype=np.uint8) & 1).astype(bool)


def _difference(pixels: np.ndarray, filters: int) -> np.ndarray:
    """Differences to the left or upper neighbour modulo 256; neighbours outside the tile are 0."""
    if filters & ALONG_ROWS:
        pixels = np.diff(pixels, axis=1, prepend=np.uint8(0))
    if filters & ALONG_COLUMNS:
        pixels = np.diff(pixels, axis=0, prepend=np.uint8(0))
    return pixels


def _undo_difference(values: np.ndarray, filters: int) -> np.ndarray:
    """Running sums modulo 256; sums along rows and columns commute."""
    pixels = values.copy()
    if filters & ALONG_COLUMNS:
        np.cumsum(pixels, axis=0, dtype=np.uint8, out=pixels)
    if filters & ALONG_ROWS:
        np.cumsum(pixels, axis=1, dtype=np.uint8, out=pixels)
    return pixels


def _deflate(values: bytes) -> bytes:
    # Raw deflate, as the file has its own checksums.
    deflater = zlib.compressobj(level=9, method=zlib.DEFLATED, wbits=RAW_DEFLATE, memLevel=9)
    return deflater.compress(values) + deflater.flush()


def _inflate(data: bytes, count: int) -> bytes:
    """Inflates exactly `count` bytes; it requests one more to detect a longer stream."""
    inflater = zlib.decompressobj(wbits=RAW_DEFLATE)
    try:
        values = inflater.decompress(data, count + 1)
    except zlib.error as error:
        raise FormatError(f"damaged: an alpha stream cannot be inflated ({error})") from error
    if len(values) != count or not inflater.eof or inflater.unused_data:
        raise FormatError(f"damaged: an alpha stream does not hold exactly {count} pixels")
    return values
