"""Arrays as a source for the encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError, OptionError
from ..format.layout import MAX_BANDS, Layout, grouped
from .advice import AUTO_SCALE
from .grouping import regrouped
from .guard import named
from .metadata import Metadata
from .options import ReadOptions
from .scaling import make_layout, scaled
from .source import Source, check_size
from .values import is_fill, map_bands, needs_map, needs_scale, to_samples


class ArraySource(Source):
    """An array of numbers, (height, width) or (height, width, bands), which is not copied.

    uint8 and uint16 are coded as they are, other types as 16 bits (see :mod:`dmecodec.images.values`).

    Args:
        array: the samples; (height, width) is one band.
        options: nodata, scale, alpha and the axis of the bands.

    Raises:
        ImageError: the type or the shape is none of these.
        OptionError: an option does not go with the array.
    """

    def __init__(self, array: np.ndarray, options: ReadOptions) -> None:
        _check_type(array)
        pixels = _bands_last(array, options.bands)
        count, alpha = pixels.shape[2], options.alpha
        if not isinstance(alpha, (bool, np.bool_, type(None))):
            raise OptionError(f"alpha {alpha!r}: must be True, False or None")
        if alpha is None:
            alpha = pixels.dtype == np.uint8 and count in (2, 4)
        if not 1 <= count - alpha <= MAX_BANDS:
            raise ImageError(f"array of shape {array.shape}: expected 1 to {MAX_BANDS} bands, not {count - alpha}")
        self.height, self.width = pixels.shape[:2]
        self.metadata = Metadata()
        self._pixels = pixels
        nodata = [options.nodata] * (count - alpha)
        with named("array"):
            check_size(self.width, self.height)
        self.layout = self._mapped(nodata, options) if needs_map(pixels.dtype) else self._scaled(nodata, options)
        # Of three or four bands the first three are most likely colours.
        self.layout = regrouped(self, (0, 1, 2) if len(nodata) in (3, 4) else ())

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        pixels = self._values(box)[..., list(planes)]
        return to_samples(pixels, [self.layout.bands[n] for n in planes]) if self.layout.has_values else pixels

    def _values(self, box: Box) -> np.ndarray:
        rows, cols = box.slices(self.box)
        return self._pixels[rows, cols]

    def _scaled(self, nodata: list[float | None], options: ReadOptions) -> Layout:
        """The layout of unsigned samples, with the range of those of 16 bits."""
        bands, depth = self._pixels.shape[2], 8 * self._pixels.dtype.itemsize
        self.layout = make_layout(depth, nodata, alpha_at=None if len(nodata) == bands else bands - 1)
        return scaled(self, options.scale)

    def _mapped(self, nodata: list[float | None], options: ReadOptions) -> Layout:
        """The layout of values of another type, with maps to samples."""
        if len(nodata) < self._pixels.shape[2]:
            raise ImageError(f"an alpha band of {self._pixels.dtype}; give nodata, or NaN where nothing is")
        if options.scale is None and not options.bands_of_file and needs_scale(self._pixels.dtype):
            raise ImageError(f"array of {self._pixels.dtype}: {AUTO_SCALE}")
        with named("array"):
            bands = map_bands(self._values, self.box, self._pixels.dtype, nodata, options)
        return Layout(16, bands, grouped(len(bands)))


def without_mask(array: np.ma.MaskedArray, nodata: float | None) -> np.ndarray:
    """A masked array with nodata where it is masked.

    Raises:
        ImageError: there is no nodata value for what is masked, or a valid sample has it.
        OptionError: no sample can have the nodata value.
    """
    if nodata is None and np.ma.is_masked(array):
        raise ImageError("a masked array: give nodata, a value that no valid sample has")
    if nodata is None or array.dtype.kind not in "iuf":  # which is refused as such
        return array.data
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        if nodata != int(nodata) or not limits.min <= nodata <= limits.max:
            raise OptionError(f"nodata {nodata}: must be an integer between {limits.min} and {limits.max}")
    if (is_fill(array.data, nodata) & ~np.ma.getmaskarray(array)).any():
        raise ImageError(f"a masked array with valid samples of {nodata}: give as nodata a value that none has")
    return array.filled(nodata)


def _check_type(array: np.ndarray) -> None:
    if array.dtype.kind == "u" and array.dtype.itemsize == 2 and not array.dtype.isnative:
        raise ImageError(f"array of {array.dtype}: use .astype('uint16')")
    if array.dtype not in (np.uint8, np.uint16) and not needs_map(array.dtype):
        raise ImageError(f"array of {array.dtype}: only numbers are coded; for yes and no use .astype('uint8') * 255")


def _bands_last(array: np.ndarray, bands: str | None) -> np.ndarray:
    """The array as (height, width, bands), a view."""
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise ImageError(f"array of shape {array.shape}: expected (height, width) or (height, width, bands)")
    if bands == "first":
        return np.moveaxis(array, 0, -1)
    if bands is None and array.shape[0] <= MAX_BANDS and array.shape[0] < min(array.shape[1:]):
        raise ImageError(
            f"array of shape {array.shape}: its bands seem to come first; give bands='first', "
            "or bands='last' where the last axis holds the bands"
        )
    return array
