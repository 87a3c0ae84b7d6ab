"""An image as the other library reads it: Pillow what rasterio has read, and the reverse.

`dmecodec verify --original` compares with this reading, so that a fault of the library that the encoder read with is
seen.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError
from ..format.layout import Layout
from .gdal import is_installed
from .headers import format_of
from .options import ReadOptions
from .raster import PillowSource, from_file
from .source import Source

_KINDS = ("TIFF", "PNG", "BMP")
"""Formats without loss that the two libraries read with code of their own."""
_MAX_PIXELS = 1 << 26
"""Pillow holds the whole image in memory."""


class SecondReading(Source):
    """The bands of one source with the layout and the mask of another.

    Args:
        first: the source that says what is valid; not closed with this one.
        other: the same image by another library.
    """

    def __init__(self, first: Source, other: Source) -> None:
        self._first, self._other = first, other
        self.width, self.height, self.layout, self.metadata = first.width, first.height, first.layout, first.metadata

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        count = self.layout.image_bands
        parts = [self._other if plane < count else self._first for plane in planes]
        return np.stack([part.read(box, [plane])[..., 0] for part, plane in zip(parts, planes, strict=True)], 2)

    def close(self) -> None:
        """Closes the other source."""
        self._other.close()


def second_reading(image: object, first: Source) -> Source | None:
    """The image by the other library, or None where only one reads it, or both by the same code.

    Args:
        image: a path or a binary file.
        first: the image as it was opened.
    """
    if not is_installed() or first.width * first.height > _MAX_PIXELS or first.layout.depth != 8:
        return None
    try:
        other = _open_other(image, first)
    except (ImageError, OSError):
        return None
    if other is None:
        return None
    if (other.width, other.height, _bands(other.layout)) != (first.width, first.height, _bands(first.layout)):
        other.close()
        return None
    return SecondReading(first, other)


def _open_other(image: Any, first: Source) -> Source | None:
    if isinstance(image, (str, os.PathLike)):
        path = Path(os.fsdecode(image)).absolute()
        if path.is_file():  # a pipe has been read
            with path.open("rb") as file:
                return _other(file, str(path), first)
    elif hasattr(image, "read") and image.seekable():
        image.seek(0)
        return _other(image, image.read(), first)
    return None


def _other(file: BinaryIO, source: str | bytes, first: Source) -> Source | None:
    from .rasterio_source import RasterioSource

    kind = format_of(file)
    if kind not in _KINDS:
        return None
    if isinstance(first, RasterioSource):
        return None if first.is_ambiguous else from_file(file)
    if not isinstance(first, PillowSource):
        return None
    other = RasterioSource(source, kind, ReadOptions(geo=False))
    if not other.is_ambiguous:
        return other
    other.close()
    return None


def _bands(layout: Layout) -> tuple[int, int | None]:
    """How many bands there are, and which of them is alpha."""
    return layout.image_bands, layout.alpha_plane if layout.alpha_plane < layout.image_bands else None
