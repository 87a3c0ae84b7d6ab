"""Flat images stay flat: where the network does not keep one, the file gets a bound on its error.

The synthesis has learnt photographs. Where a saturated colour fills its view, its samples can be wrong by 255 levels,
above all at the image's right and lower borders. Files with a bound are decoded without the synthesis. So an image that
is mostly flat is decoded and compared, and where a flat part is too far off, it is coded with a bound instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..base.boxes import Box
from ..format.reader import Reader
from ..images.grouping import sample_windows
from ..images.source import Source
from .decoder import Decoder
from .encoder import Encoded, Encoder
from .options import flat_limit

_CELL = 16
"""Side in pixels of the squares that are flat or not."""
_FLAT_RANGE = 4
"""Levels between the smallest and the largest sample of a flat cell."""
_MIN_FLAT_SHARE = 0.5
"""An image is mostly flat from this share of flat cells on."""


def keep_flat(encoder: Encoder, encoded: Encoded) -> Encoded:
    """The file as it is, or one with a bound on the error where flat parts of the image do not stay flat.

    Args:
        encoder: that has made it.
        encoded: the file.
    """
    source, limit = encoder.source, flat_limit(encoded.header.quality)
    if source.layout.depth != 8 or encoded.header.bound is not None or not _is_mostly_flat(source):
        return encoded
    if _worst_flat_error(Decoder(Reader(encoded.data), encoder.model), source) <= limit:
        return encoded
    bounded = Encoder(source, encoder.model, replace(encoder.options, max_error=limit))
    return bounded.encode(encoded.header.quality)


def _is_mostly_flat(source: Source) -> bool:
    """Whether most cells of the image are flat, as far as some windows of it tell; an ordinary image soon is not."""
    windows = sample_windows(source.width, source.height)
    missing = (1 - _MIN_FLAT_SHARE) * len(windows)
    for window in windows:
        missing -= 1 - _flat_cells(_samples(source, window)).mean()
        if missing < 0:
            return False
    return True


def _worst_flat_error(decoder: Decoder, source: Source) -> int:
    """The largest error of a valid sample in a flat cell whose neighbours are of the same colour."""
    worst = 0

    def compare(col: int, row: int, decoded: np.ndarray) -> None:
        nonlocal worst
        box = Box(col, row, decoded.shape[1], decoded.shape[0])
        original = source.pixels(box)
        error = np.abs(decoded.astype(np.int16) - original)
        layout = source.layout
        if layout.has_alpha:
            error[original[..., layout.alpha_plane] == 0] = 0
        for group, members in enumerate(layout.groups):
            planes = [layout.plane_of(band) for band in members]
            error[..., planes] *= source.not_nodata(original[..., planes], group)
        inside = _flat_cells(original).repeat(_CELL, 0).repeat(_CELL, 1)[: box.height, : box.width]
        worst = max(worst, int(error[inside].max(initial=0)))

    decoder.blocks(source.box, compare)
    return worst


def _samples(source: Source, box: Box) -> np.ndarray:
    """All bands of a box, without alpha: (h, w, bands)."""
    return np.concatenate([source.samples(box, group) for group in range(len(source.layout.groups))], 2)


def _flat_cells(pixels: np.ndarray) -> np.ndarray:
    """Which cells are flat together with the cells around them: bool (rows, cols)."""
    bottom, right = -pixels.shape[0] % _CELL, -pixels.shape[1] % _CELL
    padded = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), "edge")
    rows, cols = padded.shape[0] // _CELL, padded.shape[1] // _CELL
    cells = padded.reshape(rows, _CELL, cols, _CELL, -1)
    low, high = cells.min(1).min(2).astype(int), cells.max(1).max(2).astype(int)
    low, high = _around(low, np.minimum), _around(high, np.maximum)
    return (high - low).max(2) <= _FLAT_RANGE


def _around(values: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """The extreme of each cell and its eight neighbours."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), "edge")
    rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
    return extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
