"""Arrays of more than the four plain modes as a source for the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError
from ..format.layout import MAX_BANDS
from .grouping import regrouped
from .guard import named
from .metadata import Metadata
from .planes import Scale, make_layout, scaled
from .source import check_size, check_window


def check_array(array: np.ndarray, nodata: int | None) -> None:
    """Refuses 16 bits in another byte order, and masked arrays where nodata would hide a valid sample.

    Raises:
        ImageError: what it is, and what to do.
    """
    if array.dtype.kind == "u" and array.dtype.itemsize == 2 and not array.dtype.isnative:
        raise ImageError(f"array of {array.dtype}: use .astype('uint16')")
    if nodata is None or not isinstance(array, np.ma.MaskedArray) or array.dtype.kind != "u":
        return
    if ((array.data == nodata) & ~np.ma.getmaskarray(array)).any():
        raise ImageError(f"a masked array with valid samples of {nodata}: give as nodata a value that none has")


class BandArray:
    """An array of uint8 or uint16 (height, width, bands), which is not copied.

    Args:
        array: the samples; (height, width) is one band.
        nodata: value of the samples that are not valid, of every band, or None.
        scale: the samples that the network's 0 and 1 stand for, of 16 bits; None takes each band's
            own range of valid samples.
        alpha: whether the last band is alpha.
    """

    def __init__(self, array: np.ndarray, *, nodata: int | None, scale: Scale | None, alpha: bool) -> None:
        pixels = array[..., None] if array.ndim == 2 else array
        if pixels.ndim == 3 and 1 < pixels.shape[0] <= 8 < min(pixels.shape[1:]):
            raise ImageError(
                f"array of shape {array.shape}: bands seem to come first; move them with "
                "np.moveaxis(array, 0, -1) (2 to 8 rows of more than 8 bands are not taken)"
            )
        if pixels.ndim != 3 or not 1 <= pixels.shape[2] - alpha <= MAX_BANDS:
            raise ImageError(
                f"array of shape {array.shape}: expected (height, width) or (height, width, bands) "
                f"with 1 to {MAX_BANDS} bands, bands last"
            )
        self.height, self.width, bands = pixels.shape
        with named("array"):
            check_size(self.width, self.height)
        self._pixels = pixels
        self.metadata, self.geo = Metadata(), None
        depth = 8 * pixels.dtype.itemsize
        values = [nodata] * (bands - alpha)
        self.layout = make_layout(depth, values, alpha_at=bands - 1 if alpha else None)
        self.layout = scaled(self, scale)
        # Of three or four bands the first three are most likely colours.
        self.layout = regrouped(self, (0, 1, 2) if len(values) in (3, 4) else ())

    @property
    def mode(self) -> str:
        """As :attr:`Source.mode`."""
        return self.layout.mode

    def read(self, col: int, row: int, width: int, height: int) -> np.ndarray:
        """As :meth:`Source.read`."""
        check_window(self, col, row, width, height)
        return self._pixels[row : row + height, col : col + width].copy()

    def read_planes(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`BandSource.read_planes`."""
        rows, cols = box.slices(Box(0, 0, self.width, self.height))
        return self._pixels[rows, cols][..., list(planes)]
