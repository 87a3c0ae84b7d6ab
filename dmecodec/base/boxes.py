"""Boxes of pixels and latents: what a tile or a window covers, and what the transforms must see around it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import OptionError

BLOCK = 1024
"""The transforms run on blocks of at most this many pixels a side: it bounds their memory."""


@dataclass(frozen=True)
class Box:
    """A rectangle: first column and row, width and height."""

    col: int
    row: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column beyond."""
        return self.col + self.width

    @property
    def bottom(self) -> int:
        """First row beyond."""
        return self.row + self.height

    def grown(self, margin: int, within: Box) -> Box:
        """Larger by a margin on every side, but not beyond `within`."""
        return Box(self.col - margin, self.row - margin, self.width + 2 * margin, self.height + 2 * margin).clipped(
            within
        )

    def clipped(self, within: Box) -> Box:
        """The part inside `within`; the two must overlap."""
        col, row = max(self.col, within.col), max(self.row, within.row)
        right, bottom = min(self.right, within.right), min(self.bottom, within.bottom)
        return Box(col, row, right - col, bottom - row)

    def scaled_down(self, stride: int) -> Box:
        """The cells of `stride` that it touches."""
        col, row = self.col // stride, self.row // stride
        right, bottom = -(-self.right // stride), -(-self.bottom // stride)
        return Box(col, row, right - col, bottom - row)

    def scaled_up(self, stride: int) -> Box:
        """The inverse: cells to pixels."""
        return Box(self.col * stride, self.row * stride, self.width * stride, self.height * stride)

    def blocks(self, side: int = BLOCK) -> Iterator[Box]:
        """Row by row, the parts of it in each cell of a grid of `side` that begins at 0, 0."""
        cells = self.scaled_down(side)
        for row in range(cells.row, cells.bottom):
            for col in range(cells.col, cells.right):
                yield Box(col * side, row * side, side, side).clipped(self)

    def slices(self, origin: Box) -> tuple[slice, slice]:
        """Rows and columns of it in an array that begins where `origin` does."""
        row, col = self.row - origin.row, self.col - origin.col
        return slice(row, row + self.height), slice(col, col + self.width)


def window_box(window: tuple[int, int, int, int] | None, width: int, height: int) -> Box:
    """A user's window (col, row, width, height), or the whole image for None.

    Raises:
        OptionError: where it is empty or not inside the image.
    """
    if window is None:
        return Box(0, 0, width, height)
    try:
        box = Box(*map(operator.index, window))
    except TypeError as error:
        raise OptionError("a window is four integers: column, row, width, height") from error
    inside = box.col >= 0 and box.row >= 0 and box.right <= width and box.bottom <= height
    if box.width < 1 or box.height < 1 or not inside:
        raise OptionError(
            f"window {box.col},{box.row},{box.width},{box.height} is not inside the image of {width} x {height} pixels"
        )
    return box
