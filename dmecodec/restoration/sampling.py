"""Where in a tile the encoder looks at what a decoder will see: a part of it, as the synthesis costs time."""

from __future__ import annotations

from ..base.boxes import Box
from ..network.config import STRIDE

WHOLE = 512
"""Blocks of up to this many pixels squared are looked at whole."""
_MARGIN = 16
"""Pixels at the border of a window that do not count: alone it lacks the latents around it."""
_SIDE, _ALONG = 128, 3
APART = 128
"""Pixels between the places where all of the original is glanced at."""


def windows(block: Box) -> list[Box]:
    """The block itself, or windows on a grid of three by three: a seventh of a block of 1024 x 1024."""
    if block.width * block.height <= WHOLE**2:
        return [block]
    spans = [_spans(side) for side in (block.width, block.height)]
    return [Box(block.col + col, block.row + row, width, height) for row, height in spans[1] for col, width in spans[0]]


def counted(window: Box, image: Box) -> Box:
    """What of a window counts: all of it but a margin, where the image goes on."""
    left, top = (_MARGIN * (start > 0) for start in (window.col, window.row))
    right = _MARGIN * (window.right < image.right)
    bottom = _MARGIN * (window.bottom < image.bottom)
    width, height = window.width - left - right, window.height - top - bottom
    return Box(window.col + left, window.row + top, max(0, width), max(0, height))


def _spans(of_block: int) -> list[tuple[int, int]]:
    """Starts and lengths of the windows along one side, on the grid of latents."""
    if of_block <= _ALONG * _SIDE:
        return [(0, of_block)]
    starts = [(2 * n + 1) * of_block // (2 * _ALONG) - _SIDE // 2 for n in range(_ALONG)]
    return [(start // STRIDE * STRIDE, _SIDE) for start in starts]
