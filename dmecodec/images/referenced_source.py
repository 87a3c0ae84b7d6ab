"""A picture that Pillow reads, such as a JPEG with a world file, together with what rasterio reports of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError
from ..format.layout import Alpha, Layout
from .advice import CHOOSE
from .options import ReadOptions
from .palette import palette_of
from .rasterio_source import gdal_errors, open_dataset, read_metadata
from .read_record import read_record
from .scaling import make_layout
from .source import Source
from .validity import has_dataset_mask, nodata_layout


class ReferencedSource(Source):
    """Pixels, ICC profile and EXIF are Pillow's; georeference, tags, nodata and masks are rasterio's.

    So an image has the same pixels with a georeference as without.

    Args:
        picture: the image as Pillow reads it.
        file: the same image, by its path or its bytes.
        kind: its format.
        options: with a nodata value that a user gives.

    Raises:
        ImageError: rasterio cannot read it, or reports another size.
    """

    def __init__(self, picture: Source, file: str | bytes, kind: str, options: ReadOptions) -> None:
        self._picture, self._kind, self._open_files = picture, kind, ExitStack()
        self.width, self.height = picture.width, picture.height
        self.metadata = picture.metadata
        try:
            with gdal_errors(kind):
                self._data = open_dataset(file, kind, self._open_files)
                self._read_header(options)
        except BaseException:
            self.close()
            raise

    def _read_header(self, options: ReadOptions) -> None:
        data, picture = self._data, self._picture.layout
        if (data.width, data.height) != (self.width, self.height):
            raise ImageError(
                f"Pillow reads {self.width} x {self.height} pixels, rasterio {data.width} x {data.height}; "
                "--no-geo takes those of Pillow"
            )
        self._masked = False
        self.layout = self._merged_layout(picture, options)
        record = read_record(data, 0 if palette_of(data) is None else self.layout.image_bands)
        if len(record.bands) != self.layout.image_bands:  # a colour key has become alpha
            record = replace(record, bands=())
        self.says_more = record.has_content or self.layout != picture or self._masked
        self.geo = record.to_bytes()
        if self.metadata.xmp is None:
            self.metadata = replace(self.metadata, xmp=read_metadata(data).xmp)

    def _merged_layout(self, picture: Layout, options: ReadOptions) -> Layout:
        """The picture's bands with the nodata values and the mask that rasterio reports."""
        data = self._data
        alpha_at = picture.alpha_at if picture.has_alpha else None
        if data.count == picture.image_bands:
            coded = [n for n in range(data.count) if n != alpha_at]
            return nodata_layout(data, coded, picture.depth, alpha_at, options.nodata)
        # A palette or a colour key, which Pillow has resolved.
        if not (has_dataset_mask(data) or data.nodatavals[0] is not None):
            return picture
        if alpha_at is None:
            return make_layout(picture.depth, [None] * len(picture.bands), mask=True)
        if has_dataset_mask(data):
            raise ImageError(f"has both transparent colours and a mask; leave one out: {CHOOSE}")
        self._masked = True
        return picture

    def read(self, box: Box, planes: Sequence[int]) -> np.ndarray:
        """As :meth:`Source.read`."""
        bands = self._picture.layout.planes
        pixels = self._picture.read(box, [plane for plane in planes if plane < bands])
        if self.layout.alpha is Alpha.MASK and self.layout.alpha_plane in planes:
            at = list(planes).index(self.layout.alpha_plane)
            return np.insert(pixels, at, self._mask(box), 2)
        if self._masked and self.layout.alpha_plane in planes:
            pixels[..., list(planes).index(self.layout.alpha_plane)][self._mask(box) == 0] = 0
        return pixels

    def _mask(self, box: Box) -> np.ndarray:
        from rasterio.windows import Window

        with gdal_errors(self._kind):
            return self._data.read_masks(1, window=Window(box.col, box.row, box.width, box.height))

    def close(self) -> None:
        """Closes the file."""
        self._open_files.close()
        self._picture.close()
