"""What the encoder reads from, window by window, and such a source over an array."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..errors import ImageError, OptionError
from ..format.limits import MAX_PIXELS, MAX_SIDE, PLAIN_MODES
from .guard import named
from .metadata import Metadata


class Source(Protocol):
    """An image that the encoder reads window by window."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def mode(self) -> str:
        """One of `dmecodec.images.MODES`, or BANDS for a source that has a layout as well."""

    @property
    def metadata(self) -> Metadata:
        """What shall be kept beside the pixels."""

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        """The window as uint8 (height, width, bands); it must lie inside the image."""


def check_size(width: int, height: int) -> None:
    """Refuses an image that has no pixels or is larger than the container can hold."""
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} is too large: a side may have {MAX_SIDE} pixels, the whole image {MAX_PIXELS}"
        )


def check_window(image: Source, col: int, row: int, width: int, height: int) -> None:
    """Refuses a window that is empty or reaches beyond the image."""
    inside = 0 <= col < col + width <= image.width and 0 <= row < row + height <= image.height
    if not inside:
        raise OptionError(
            f"window {col},{row},{width},{height} is not inside the image of {image.width} x {image.height}"
        )


class ArraySource:
    """An array (height, width) or (height, width, bands), which is not copied."""

    def __init__(self, array: np.ndarray) -> None:
        if array.dtype != np.uint8:
            raise ImageError(
                f"array of {array.dtype}: only uint8 is supported; scale the values to 0..255 and use .astype('uint8')"
            )
        pixels = array[..., None] if array.ndim == 2 else array
        if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
            raise ImageError(
                f"array of shape {array.shape}: expected (height, width) or "
                "(height, width, bands) with 1 to 4 bands (L, LA, RGB, RGBA), bands last"
            )
        self.height, self.width, bands = pixels.shape
        self.mode = PLAIN_MODES[bands - 1]
        self.metadata = Metadata()
        self._pixels = pixels
        with named("array"):
            check_size(self.width, self.height)

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        """As :meth:`Source.read`."""
        check_window(self, col, row, width, height)
        return self._pixels[row : row + height, col : col + width].copy()
