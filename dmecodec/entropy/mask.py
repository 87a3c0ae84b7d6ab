"""The MASK stream of a tile and group: which samples are valid, without loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import FormatError
from .lossless import decode_alpha, encode_alpha


def encode_mask(valid: np.ndarray) -> bytes:
    """Codes bool (height, width, 1 to 3 bands) of one tile."""
    bits = np.array([1, 2, 4], np.uint8)[: valid.shape[2]]
    return encode_alpha((valid * bits).sum(2, dtype=np.uint8))


def decode_mask(stream: bytes, height: int, width: int, nodata: Sequence[bool]) -> np.ndarray:
    """The inverse of :func:`encode_mask`, where `nodata` says which bands have such a value.

    Raises:
        FormatError: where the stream is damaged, or speaks of bands that there are not or have no nodata.
    """
    bands = len(nodata)
    try:
        bits = decode_alpha(stream, height, width)
    except FormatError as error:
        raise FormatError(str(error).replace("an alpha stream", "a mask stream")) from error
    if (bits >> bands).any():
        raise FormatError(f"a mask stream speaks of more than {bands} bands")
    whole = sum(1 << i for i in range(bands) if not nodata[i])
    if (~bits & whole).any():
        raise FormatError("a mask stream has nodata in a band without such a value")
    return (bits[..., None] >> np.arange(bands, dtype=np.uint8) & 1).astype(bool)
