"""The areas of a tile that the encoder decodes to fit the restoration filter; not all of it, to save time."""

from __future__ import annotations

from ..base.boxes import Box
from ..network.config import STRIDE

WHOLE = 512
"""Blocks of up to this many pixels squared are sampled completely."""
_MARGIN = 16
"""Pixels at the border of an area that do not count, as it is decoded without the latents around it."""
_SIDE, _PER_SIDE = 128, 3
"""Side of a sampled area in pixels, and number of areas along each side of a block."""
PATCH_SPACING = 128
"""Spacing in pixels of the patches at which the original of the whole tile is measured."""


def sampled_areas(block: Box) -> list[Box]:
    """The block itself, or nine areas on a grid: a seventh of a block of 1024 x 1024."""
    if block.width * block.height <= WHOLE**2:
        return [block]
    spans = [_spans(side) for side in (block.width, block.height)]
    return [Box(block.col + col, block.row + row, width, height) for row, height in spans[1] for col, width in spans[0]]


def counted(area: Box, image: Box) -> Box:
    """The part of an area that counts: all but a margin on the sides where the image continues."""
    left, top = (_MARGIN * (start > 0) for start in (area.col, area.row))
    right = _MARGIN * (area.right < image.right)
    bottom = _MARGIN * (area.bottom < image.bottom)
    width, height = area.width - left - right, area.height - top - bottom
    return Box(area.col + left, area.row + top, max(0, width), max(0, height))


def _spans(block_side: int) -> list[tuple[int, int]]:
    """Starts and lengths of the areas along one side of a block, on the grid of latents."""
    if block_side <= _PER_SIDE * _SIDE:
        return [(0, block_side)]
    starts = [(2 * n + 1) * block_side // (2 * _PER_SIDE) - _SIDE // 2 for n in range(_PER_SIDE)]
    return [(start // STRIDE * STRIDE, _SIDE) for start in starts]
