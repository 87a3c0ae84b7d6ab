"""Whether a file keeps its bound on the error of every valid sample."""

from __future__ import annotations

import numpy as np

from ..base.boxes import Box
from ..errors import BoundError, ImageError
from ..format.header import Header
from ..format.layout import Alpha, Layout
from ..images.source import Source
from .decoder import Decoder


def _shape(image: Header | Source, layout: Layout) -> str:
    bands = f"{layout.planes} bands of {layout.depth} bits" if image.mode == "BANDS" else image.mode
    return f"{image.width} x {image.height} {bands}"


def largest_error(decoder: Decoder, original: Source) -> int:
    """The largest difference of a valid sample from the original, in levels; alpha included.

    Raises:
        ImageError: the original is not of the file's size and mode.
        BoundError: the difference is larger than the file's bound.
        FormatError: the file is damaged.
    """
    header, layout = decoder.header, decoder.layout
    ours, theirs = _shape(header, layout), _shape(original, original.layout)
    if ours != theirs:
        raise ImageError(f"the original is {theirs}, but the file is {ours}")
    worst = (0, 0, 0)  # error, column, row

    def compare(col: int, row: int, block: np.ndarray) -> None:
        nonlocal worst
        height, width = block.shape[:2]
        box = Box(col, row, width, height)
        pixels = original.pixels(box).astype(np.int32)
        mask = original.alpha(box) if layout.alpha is Alpha.MASK else None
        if mask is not None:  # 255 at every depth
            pixels[..., layout.alpha_plane] = mask
        error = np.abs(pixels - block)
        if layout.has_alpha:  # what lies under a mask is not kept
            masked = pixels[..., layout.alpha_plane] == 0
            error[masked] = np.where(np.arange(layout.planes) == layout.alpha_plane, error[masked], 0)
        error = error.max(2)
        place = int(error.argmax())
        worst = max(worst, (int(error.flat[place]), col + place % width, row + place // width))

    decoder.blocks(Box(0, 0, header.width, header.height), compare)
    error, col, row = worst
    if decoder.bound is not None and error > decoder.bound:
        raise BoundError(
            f"the sample in column {col}, row {row} is {error} levels off the original; "
            f"the file promises {decoder.bound}"
        )
    return error
