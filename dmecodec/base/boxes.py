"""Rectangles of pixels or latents: tiles, blocks, windows and their halos."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import OptionError

BLOCK = 1024
"""Largest side of a block in pixels. It bounds the memory of the transforms."""


@dataclass(frozen=True)
class Box:
    """A rectangle on the pixel grid or the latent grid: first column and row, width, height."""

    col: int
    row: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column to the right of the box."""
        return self.col + self.width

    @property
    def bottom(self) -> int:
        """The first row below the box."""
        return self.row + self.height

    def grown(self, margin: int, within: Box) -> Box:
        """The box enlarged by a margin on every side, clipped to `within`."""
        width, height = self.width + 2 * margin, self.height + 2 * margin
        return Box(self.col - margin, self.row - margin, width, height).clipped(within)

    def clipped(self, within: Box) -> Box:
        """The intersection with `within`; the two must overlap."""
        col, row = max(self.col, within.col), max(self.row, within.row)
        right, bottom = min(self.right, within.right), min(self.bottom, within.bottom)
        return Box(col, row, right - col, bottom - row)

    def scaled_down(self, stride: int) -> Box:
        """Pixels to latents: the cells of a grid of `stride` that the box touches."""
        col, row = self.col // stride, self.row // stride
        right, bottom = -(-self.right // stride), -(-self.bottom // stride)
        return Box(col, row, right - col, bottom - row)

    def scaled_up(self, stride: int) -> Box:
        """Latents to pixels: all pixels of these cells of a grid of `stride`."""
        return Box(self.col * stride, self.row * stride, self.width * stride, self.height * stride)

    def blocks(self, side: int = BLOCK) -> Iterator[Box]:
        """The blocks of the box: its intersection with each cell of a grid of `side` from (0, 0), row by row."""
        cells = self.scaled_down(side)
        for row in range(cells.row, cells.bottom):
            for col in range(cells.col, cells.right):
                yield Box(col * side, row * side, side, side).clipped(self)

    def has_several(self, side: int = BLOCK) -> bool:
        """Whether it has as many pixels as two of its largest blocks: then two threads take half of the time."""
        return self.width * self.height >= 2 * min(side, self.width) * min(side, self.height)

    def slices(self, origin: Box) -> tuple[slice, slice]:
        """Index of the box in an array whose first element lies at the corner of `origin`: rows, columns."""
        row, col = self.row - origin.row, self.col - origin.col
        return slice(row, row + self.height), slice(col, col + self.width)


MAX_REDUCE = 5


def reduce_factor(reduce: int) -> int:
    """Pixels of the whole image along a side of a pixel of the reduced one: 2 to the power of `reduce`.

    Raises:
        OptionError: it is not an integer from 0 to 5.
    """
    try:
        power = operator.index(reduce)
    except TypeError:
        power = -1
    if not 0 <= power <= MAX_REDUCE:
        raise OptionError(f"reduce {reduce!r}: must be an integer from 0 to {MAX_REDUCE}")
    return 1 << power


def window_box(window: tuple[int, int, int, int] | None, width: int, height: int) -> Box:
    """Checks a window (col, row, width, height); None is the whole image.

    Raises:
        OptionError: the window is not four integers, is empty, or is not inside the image.
    """
    if window is None:
        return Box(0, 0, width, height)
    try:
        box = Box(*map(operator.index, window))
    except TypeError as error:
        raise OptionError(f"window {window!r}: must be four integers: column, row, width, height") from error
    inside = box.col >= 0 and box.row >= 0 and box.right <= width and box.bottom <= height
    if box.width < 1 or box.height < 1 or not inside:
        raise OptionError(
            f"window {box.col},{box.row},{box.width},{box.height} is not inside the image of {width} x {height} pixels"
        )
    return box
