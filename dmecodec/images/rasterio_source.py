"""An image that rasterio reads, window by window: a GeoTIFF, or one of another format that Pillow cannot read."""

from __future__ import annotations

import base64
import io
from binascii import Error as Base64Error
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError, UnreadableError
from ..format.layout import MAX_BANDS, Alpha, Layout
from .advice import CHOOSE, EXTRACT, MASK_INSTEAD, SCALE, SPLIT_COMPLEX, TO_RGB
from .gdal import gdal, has_driver, one_line, opened, rasterio_errors, without_driver
from .grouping import regrouped
from .iso_boxes import check_nested_boxes
from .metadata import Metadata
from .options import ReadOptions
from .palette import palette_layout, palette_of
from .read_record import read_record
from .scaling import make_layout, scaled
from .source import Source, check_size
from .validity import alpha_band, nodata_layout
from .values import map_bands, needs_map, to_samples

DRIVERS = {
    "TIFF": ("GTiff",),
    "PNG": ("PNG",),
    "JPEG": ("JPEG",),
    "WebP": ("WEBP",),
    "GIF": ("GIF", "BIGGIF"),
    "BMP": ("BMP",),
    "PNM": ("PNM",),
    "JPEG 2000": ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID"),
    "AVIF": ("AVIF", "HEIF"),
}
"""GDAL's drivers for the formats that are read here."""


class RasterioSource(Source):
    """An open image of numbers.

    Args:
        file: a path, or the bytes of the file.
        kind: its format, as :data:`DRIVERS` names it.
        options: scale and nodata; with `geo` also what the image says beside its samples and alpha is read.

    Raises:
        ImageError: GDAL cannot read it, or its samples are of a kind that cannot be coded.
    """

    def __init__(self, file: str | bytes, kind: str, options: ReadOptions) -> None:
        self._open_files, self._kind = ExitStack(), kind
        try:
            with gdal_errors(kind):
                self._data = open_dataset(file, kind, self._open_files)
                self._read_header(options)
                self.layout: Layout = self._scaled(options)
                self.layout = regrouped(self, _colours(self._data, self.layout))
        except BaseException:
            self.close()
            raise

    def _read_header(self, options: ReadOptions) -> None:
        data = self._data
        self.width, self.height = data.width, data.height
        check_size(self.width, self.height)
        _check_samples(data)
        self.palette = palette_of(data)
        self.metadata = read_metadata(data)
        self.layout = _layout(data, self.palette, options)
        self.geo: bytes | None = None
        if options.geo:
            bands = 0 if self.palette is None else self.palette.shape[1]
            self.geo = read_record(data, bands).to_bytes()

    def _scaled(self, options: ReadOptions) -> Layout:
        """The layout with the range of its samples, or for another type with maps from values to samples."""
        dtype = np.dtype(self._data.dtypes[0])
        if self.palette is not None or not needs_map(dtype):
            return scaled(self, options.scale)
        if self.layout.alpha is Alpha.BAND:
            raise ImageError(f"has an alpha band of {dtype}; {MASK_INSTEAD}")
        nodata = self._data.nodatavals if options.geo else [None] * self._data.count
        if options.nodata is not None:
            nodata = [options.nodata] * self._data.count
        return replace(self.layout, bands=map_bands(self._values, self.box, dtype, nodata, options))

    def _values(self, box: Box) -> np.ndarray:
        """Values of all bands, masked where the mask says so: (h, w, bands)."""
        from rasterio.windows import Window

        window = Window(box.col, box.row, box.width, box.height)
        values = self._data.read(window=window).transpose(1, 2, 0)
        if self.layout.alpha is not Alpha.MASK:
            return values
        hidden = self._data.read_masks(1, window=window) == 0
        return np.ma.masked_array(values, np.broadcast_to(hidden[..., None], values.shape))

    @property
    def is_ambiguous(self) -> bool:
        """Whether another library may well read other samples: lossy compression, or 0 for white."""
        compression = self._data.compression
        lossy = compression is not None and compression.name in ("jpeg", "webp", "lerc", "jxl")
        return lossy or "MINISWHITE" in self._data.tags(ns="IMAGE_STRUCTURE")

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        from rasterio.windows import Window

        window = Window(box.col, box.row, box.width, box.height)
        with gdal_errors(self._kind):
            if self.palette is not None:
                return self._coloured(window)[..., list(planes)]
            layers = [self._plane(plane, window) for plane in planes]
        return np.stack(layers, 2)

    def _coloured(self, window: Any) -> np.ndarray:
        """All planes of a paletted image."""
        assert self.palette is not None
        colours = self.palette[self._data.read(1, window=window)]
        if not self.layout.has_alpha:
            return colours
        mask = self._data.read_masks(1, window=window)
        if self.layout.alpha is Alpha.MASK:
            return np.concatenate([colours, mask[..., None]], 2)
        colours[..., 3][mask == 0] = 0
        return colours

    def _plane(self, plane: int, window: Any) -> np.ndarray:
        if plane == self._data.count:  # the mask, of bytes at every depth
            mask = self._data.read_masks(1, window=window)
            return mask if self.layout.depth == 8 else mask.astype(np.uint16) * 257
        values = self._data.read(plane + 1, window=window)
        return to_samples(values[..., None], [self.layout.bands[plane]])[..., 0] if self.layout.has_values else values

    def close(self) -> None:
        """Closes the file."""
        self._open_files.close()


def open_dataset(file: str | bytes, kind: str, stack: ExitStack) -> Any:
    """A rasterio dataset, closed with `stack`, opened with GDAL's settings at their defaults.

    Raises:
        UnreadableError: this GDAL has no driver for the format, or it might never end.
    """
    from rasterio.io import MemoryFile

    if kind == "JPEG 2000":
        with io.BytesIO(file) if isinstance(file, bytes) else Path(file).open("rb") as boxes:
            check_nested_boxes(boxes)
    stack.enter_context(gdal())
    name = stack.enter_context(MemoryFile(file)).name if isinstance(file, bytes) else file
    drivers = [driver for driver in DRIVERS[kind] if has_driver(driver)]
    if not drivers:
        raise UnreadableError(without_driver(f"for {kind}"))
    for driver in drivers[:-1]:
        with suppress(*rasterio_errors()):
            return stack.enter_context(opened(name, driver=driver))
    return stack.enter_context(opened(name, driver=drivers[-1]))


@contextmanager
def gdal_errors(kind: str) -> Iterator[None]:
    """What GDAL complains of, as one line."""
    try:
        yield
    except UnicodeEncodeError:
        raise ImageError("GDAL takes no names of files that are no UTF-8; rename it") from None
    except rasterio_errors() as error:
        raise UnreadableError(f"GDAL cannot read this {kind} file ({one_line(error)})") from error


def _check_samples(data: Any) -> None:
    """Refuses samples that cannot be coded, by name."""
    kinds = sorted(set(data.dtypes))
    if len(kinds) > 1:
        raise ImageError(f"has bands of different types ({', '.join(kinds)}); {CHOOSE}")
    kind = kinds[0]
    if kind.startswith("complex"):
        raise ImageError(f"has {kind} samples; {SPLIT_COMPLEX}")
    if kind not in ("uint8", "uint16") and not needs_map(np.dtype(kind)):
        raise ImageError(f"has {kind} samples; {SCALE}")
    if any(color.name in ("cyan", "hue", "Y", "lightness") for color in data.colorinterp):
        raise ImageError(f"its colour model is not grey or RGB; {TO_RGB}")
    bits = data.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")
    # GDAL makes up a palette of black and white for one bit.
    is_index = data.colorinterp[0].name == "palette" and bits != "1"
    if kind == "uint8" and bits != "8" and not is_index:
        raise ImageError(
            f"has {bits} bits a sample; make it 8, with the same values, by 'gdal_translate -co NBITS=8 IN OUT.tif'"
        )
    if len(data.subdatasets) > 1:
        raise ImageError(f"holds {len(data.subdatasets)} images; {EXTRACT}")


def _layout(data: Any, palette: np.ndarray | None, options: ReadOptions) -> Layout:
    """Bands, with `geo` nodata and masks, of a file, 16 bits not scaled yet."""
    if palette is not None:
        return palette_layout(data, palette, options)
    alpha_at = alpha_band(data)
    depth = 8 if data.dtypes[0] == "uint8" else 16
    coded = [n for n in range(data.count) if n != alpha_at]
    if len(coded) > MAX_BANDS:
        raise ImageError(f"has {len(coded)} bands; {MAX_BANDS} are the most; {CHOOSE}")
    if not options.geo:
        return make_layout(depth, [options.nodata] * len(coded), alpha_at=alpha_at)
    return nodata_layout(data, coded, depth, alpha_at, options.nodata)


def _colours(data: Any, layout: Layout) -> tuple[int, ...]:
    """Red, green and blue among the coded bands, wherever they are; none where they are not said."""
    if layout.mode != "BANDS" or data.count < len(layout.bands):
        return layout.groups[0]
    coded = [data.colorinterp[layout.plane_of(n)].name for n in range(len(layout.bands))]
    colours = ("red", "green", "blue")
    if any(coded.count(name) != 1 for name in colours):
        return ()
    return tuple(coded.index(name) for name in colours)


def read_metadata(data: Any) -> Metadata:
    """ICC profile and XMP of an open dataset."""
    icc = data.tags(ns="COLOR_PROFILE").get("SOURCE_ICC_PROFILE")
    xmp = data.tags(ns="xml:XMP").get("xml:XMP")
    try:
        profile = base64.b64decode(icc) if icc else None
    except Base64Error:  # a damaged profile is no reason to refuse the pixels
        profile = None
    return Metadata(icc=profile, xmp=xmp.encode() if xmp else None)
