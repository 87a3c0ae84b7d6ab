"""The engine of xarray: `xarray.open_dataset("scene.dmen", engine="dmecodec", chunks={})`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from ..base.boxes import reduce_factor
from ..base.remote import full_name
from ..file import File
from ..format.geo import GeoRecord
from ..format.layout import Alpha

BANDS, MASK, PLACE = "band_data", "mask", "spatial_ref"
_SUFFIX = ".dmen"


class DmecodecBackend(BackendEntrypoint):
    """Opens a `.dmen` file as a dataset whose pixels are decoded when they are asked for.

    `band_data` is (band, y, x), of the image's own type; what is not valid has the value that `_FillValue` names. A
    mask is the variable `mask`, of booleans. `x` and `y` are the centres of the pixels, where the transform is not
    rotated; `spatial_ref` has the CRS and the transform, as rioxarray expects them.
    """

    description = "dmecodec aerial and satellite images (.dmen)"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "reduce")

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, reduce: int = 0
    ) -> xr.Dataset:
        """The dataset; `reduce` as for :func:`dmecodec.decode`.

        Raises:
            FormatError: the file cannot be read.
            OptionError: no such `reduce`.
        """
        is_name = isinstance(filename_or_obj, (str, os.PathLike))
        source = _Source(full_name(filename_or_obj) if is_name else filename_or_obj, reduce)
        dataset = _dataset(source)
        return dataset.drop_vars(drop_variables) if drop_variables is not None else dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether a name ends as those of our files do."""
        return isinstance(filename_or_obj, (str, os.PathLike)) and os.fspath(filename_or_obj).lower().endswith(_SUFFIX)


class _Source:
    """A file and a resolution; another process opens the file anew."""

    def __init__(self, name: Any, reduce: int) -> None:
        self.name, self.reduce = name, reduce

    @property
    def file(self) -> File:
        return _opened(self.name) if isinstance(self.name, str) else _opened_object(self.name)


@lru_cache(32)
def _opened(name: str) -> File:
    file = File(name)
    file.keep_tiles()
    return file


@lru_cache(32)
def _opened_object(file: Any) -> File:
    return File(file)


class _Planes(BackendArray):
    """The bands, or the mask, of a file: (planes, y, x), or (y, x)."""

    def __init__(self, source: _Source, shape: tuple[int, ...], dtype: np.dtype, is_mask: bool) -> None:
        self._source, self._is_mask = source, is_mask
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        *first, rows, cols = key
        (top, bottom, row_key), (left, right, col_key) = (
            _span(part, side) for part, side in zip((rows, cols), self.shape[-2:], strict=True)
        )
        if top == bottom or left == right:
            return np.empty(self.shape, self.dtype)[key]
        file, factor = self._source.file, 1 << self._source.reduce
        col, row = left * factor, top * factor
        width = min(right * factor, file.header.width) - col
        height = min(bottom * factor, file.header.height) - row
        planes, layout = file.planes((col, row, width, height), reduce=self._source.reduce)
        if self._is_mask:
            return (planes[..., -1] > 0)[row_key, col_key]
        found = planes[..., : layout.image_bands].transpose(2, 0, 1)
        return found[tuple([*first, row_key, col_key])]  # noqa: C409


def _span(key: int | slice, side: int) -> tuple[int, int, int | slice]:
    """The range of rows or columns that a key needs, and the key within it."""
    if not isinstance(key, slice):
        place = range(side)[key]
        return place, place + 1, 0
    chosen = range(side)[key]
    if not chosen:
        return 0, 0, key
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1
    return low, high, slice(None, None, chosen.step)


def _dataset(source: _Source) -> xr.Dataset:
    file, factor = source.file, reduce_factor(source.reduce)
    layout, record = file.layout, (file.geo or GeoRecord()).reduced(factor)
    height, width = (-(-side // factor) for side in (file.header.height, file.header.width))
    chunk = max(1, file.header.tile // factor)
    kept = {"y": min(chunk, height), "x": min(chunk, width)}
    bands = _Planes(source, (layout.image_bands, height, width), np.dtype(layout.value_type), is_mask=False)
    variable = xr.Variable(
        ("band", "y", "x"),
        indexing.LazilyIndexedArray(bands),
        _attributes(record, layout.declared_nodata),
        {"preferred_chunks": {"band": layout.image_bands} | kept},
    )
    variables = {BANDS: variable}
    if layout.alpha is Alpha.MASK:
        mask = _Planes(source, (height, width), np.dtype(bool), is_mask=True)
        lazy = indexing.LazilyIndexedArray(mask)
        variables[MASK] = xr.Variable(("y", "x"), lazy, {}, {"preferred_chunks": kept})
    coordinates = {"band": ("band", np.arange(1, layout.image_bands + 1))} | _places(record, width, height)
    dataset = xr.Dataset(variables, coordinates)
    for name in variables:
        dataset[name].encoding["grid_mapping"] = PLACE
    return dataset


def _attributes(record: GeoRecord, nodata: tuple[float | int | None, ...]) -> dict[str, Any]:
    """Attributes of the bands by the names of rioxarray."""
    found: dict[str, Any] = dict(record.tags.get("", {}))
    values = [value for value in nodata if value is not None]
    if values:
        found["_FillValue"] = values[0]
    names = tuple(band.description or "" for band in record.bands)
    if any(names):
        found["long_name"] = names if len(names) > 1 else names[0]
    scales, offsets = {band.scale for band in record.bands}, {band.offset for band in record.bands}
    if len(scales) == len(offsets) == 1 and (scales, offsets) != ({1.0}, {0.0}):
        found["scale_factor"], found["add_offset"] = scales.pop(), offsets.pop()
    return found


def _places(record: GeoRecord, width: int, height: int) -> dict[str, Any]:
    """Coordinates of the pixels, and the variable with the CRS."""
    attributes: dict[str, Any] = {}
    if record.crs:
        attributes = {"crs_wkt": record.crs, "spatial_ref": record.crs}
    places: dict[str, Any] = {}
    if record.transform is not None:
        a, b, c, d, e, f = record.transform
        attributes["GeoTransform"] = " ".join(repr(number) for number in (c, a, b, f, d, e))
        if b == d == 0:
            places = {"x": ("x", c + a * (np.arange(width) + 0.5)), "y": ("y", f + e * (np.arange(height) + 0.5))}
    return places | {PLACE: ((), 0, attributes)}
