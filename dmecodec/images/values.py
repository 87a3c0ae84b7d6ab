"""Rasters of other types than uint8 and uint16 as samples of 16 bits, and back.

A float or integer raster is coded in steps: sample = (value - offset) / scale. The map is stored with each band, so
that the decoder gives values of the raster's own type. Integers that fit 16 bits are coded exactly. NaN, an infinity or
the nodata value is the band's fill: it stays out of the steps, and the lossless mask brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError
from ..format.layout import Band, Layout
from ..format.values import TYPES, ValueMap
from .advice import AUTO_SCALE
from .options import AUTO, ReadOptions, Scale

FILL = 65535
"""The sample that stands for a fill; valid samples end one below."""
LARGEST = FILL - 1
_EXACT = 2**53
"""Integers up to this size are exact as float64."""
_SCAN_PIXELS = 1 << 22
"""Values that are read at a time to find their range."""
_FIXED = {"int8": -128, "int16": -32768}
"""Offsets of types all of whose values fit 16 bits: they need no scale."""

ReadValues = Callable[[Box], np.ndarray]


def needs_map(dtype: np.dtype) -> bool:
    """Whether samples of a type have a map, by which they can be coded."""
    return dtype.name in TYPES


def needs_scale(dtype: np.dtype) -> bool:
    """Whether a user must say which values of a type 16 bits span."""
    return needs_map(dtype) and dtype.name not in _FIXED


@dataclass
class _Extent:
    """The values of a band.

    Attributes:
        low, high: the smallest and the largest value that is valid.
        specials: what is not: NaN, infinities, the nodata value, by name.
        outside: how many valid values lie outside the scale that a user gave.
    """

    low: float = math.inf
    high: float = -math.inf
    specials: dict[str, float] = field(default_factory=dict)
    outside: int = 0


def map_bands(
    values: ReadValues, image: Box, dtype: np.dtype, nodata: Sequence[float | None], options: ReadOptions
) -> tuple[Band, ...]:
    """The bands of a raster, each with the map from its values to samples.

    Args:
        values: reads all bands of a box: (h, w, bands) of the raster's type; masked where the raster's mask says so.
        image: the whole raster.
        dtype: of the values.
        nodata: the value that each band declares, or None.
        options: `scale`: the values that the samples span, "auto" for each band's own, or None; `bands_of_file`: the
            bands of a file to compare with.

    Raises:
        ImageError: the type needs a scale and there is none, values lie outside it, or values that are not valid are
            of several kinds.
    """
    if options.bands_of_file:
        types = {band.values.type if band.values else "unsigned samples" for band in options.bands_of_file}
        if types != {dtype.name} or len(options.bands_of_file) != len(nodata):
            raise ImageError(f"has {len(nodata)} bands of {dtype.name}, unlike the file: {', '.join(types)}")
        return options.bands_of_file
    scale = options.scale
    if scale is None and needs_scale(dtype):
        bits = 8 * dtype.itemsize
        words = {"f": f"{bits}-bit floating-point", "i": f"{bits}-bit signed", "u": dtype.name}[dtype.kind]
        raise ImageError(f"has {words} samples; {AUTO_SCALE}")
    bands = []
    for n, extent in enumerate(_scan(values, image, dtype, nodata, scale)):
        name = f"band {n + 1}" if len(nodata) > 1 else "its only band"
        if extent.outside:
            assert isinstance(scale, tuple)
            raise ImageError(
                f"{name} has {extent.outside} values outside {scale[0]:.10g},{scale[1]:.10g} (they reach from "
                f"{extent.low:.10g} to {extent.high:.10g}); widen the scale, or use '--scale auto'"
            )
        bands.append(_fit(extent, dtype, nodata[n], scale, name))
    return tuple(bands)


def _scan(
    values: ReadValues, image: Box, dtype: np.dtype, nodata: Sequence[float | None], scale: Scale | None
) -> list[_Extent]:
    """The extent of each band, strip by strip."""
    ranges = [_Extent() for _ in nodata]
    step = max(1, _SCAN_PIXELS // (image.width * len(nodata)))
    for top in range(0, image.height, step):
        part = values(Box(0, top, image.width, min(step, image.height - top)))
        for n, extent in enumerate(ranges):
            plane = part[..., n]
            plane = plane.compressed() if isinstance(plane, np.ma.MaskedArray) else plane.ravel()
            _scan_plane(plane, extent, _in_type(nodata[n], dtype), scale)
    return ranges


def _scan_plane(plane: np.ndarray, extent: _Extent, nodata: float | None, scale: Scale | None) -> None:
    if plane.dtype.kind == "f":
        finite = np.isfinite(plane)
        if not finite.all():
            for name, value in (("NaN", math.nan), ("infinity", math.inf), ("-infinity", -math.inf)):
                if is_fill(plane, value).any():
                    extent.specials[name] = value
            plane = plane[finite]
    if nodata is not None and math.isfinite(nodata):
        is_nodata = plane == plane.dtype.type(nodata)
        if is_nodata.any():
            extent.specials[f"the nodata value {nodata:.10g}"] = nodata
            plane = plane[~is_nodata]
    if not plane.size:
        return
    low, high = plane.min(), plane.max()
    extent.low, extent.high = min(extent.low, low.item()), max(extent.high, high.item())
    if isinstance(scale, tuple) and (low < scale[0] or high > scale[1]):
        extent.outside += int(((plane < scale[0]) | (plane > scale[1])).sum())


def _in_type(nodata: float | None, dtype: np.dtype) -> float | None:
    """A nodata value as values of a type have it, None where none can."""
    if nodata is None or (dtype.kind == "f" and not math.isfinite(nodata)):
        return nodata if dtype.kind == "f" else None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            value = float(dtype.type(nodata))
        return value if math.isfinite(value) else None
    limits = np.iinfo(dtype)
    return nodata if math.isfinite(nodata) and nodata == int(nodata) and limits.min <= nodata <= limits.max else None


def _fit(extent: _Extent, dtype: np.dtype, nodata: float | None, scale: Scale | None, name: str) -> Band:
    """The map of a band."""
    if len(extent.specials) > 1:
        kinds = " and ".join(extent.specials)
        raise ImageError(
            f"{name} has {kinds}, of which one can be kept exactly; make them one value first, for example with "
            '\'gdal_calc.py -A IN --allBands=A --calc="where(isfinite(A), A, -9999)" --NoDataValue=-9999 '
            "--outfile=OUT.tif'"
        )
    fill = next(iter(extent.specials.values()), None)
    if extent.low > extent.high:  # nothing is valid
        extent.low = extent.high = 0
    if dtype.kind in "iu" and max(abs(extent.low), abs(extent.high)) > _EXACT:
        raise ImageError(f"{name} has {dtype.name} values beyond 2^53, which cannot be kept; make it float64")
    low, step = _steps(extent, dtype, scale)
    lowest, highest = (max(0, min(FILL, round((value - low) / step))) for value in (extent.low, extent.high))
    if lowest == highest:
        lowest, highest = (lowest, lowest + 1) if lowest < FILL else (lowest - 1, lowest)
    if fill is None and _has_own_sample(_in_type(nodata, dtype), low, step, dtype):
        fill = _in_type(nodata, dtype)  # no value is nodata yet, and none shall become it
    sample = None
    if fill is not None:
        sample = round(fill - low) if _has_own_sample(fill, low, step, dtype) else FILL
    return Band(sample, lowest, highest, ValueMap(dtype.name, step, low, fill, nodata))


def _steps(extent: _Extent, dtype: np.dtype, scale: Scale | None) -> tuple[float, float]:
    """Offset and scale of a band."""
    if scale is None:
        return float(_FIXED[dtype.name]), 1.0
    low, high = (extent.low, extent.high) if scale == AUTO else scale
    low = float(low)
    span = float(high) - low
    if dtype.kind in "iu" and low == int(low) and span <= LARGEST:
        return low, 1.0
    if not math.isfinite(span):
        raise ImageError(f"its values span {extent.low:.4g} to {extent.high:.4g}, more than float64 holds")
    step = span / LARGEST
    return low, step if step > 0 else 1.0


def _has_own_sample(fill: float | None, low: float, step: float, dtype: np.dtype) -> bool:
    """Whether a fill is one of the values that samples stand for: of integers in steps of one."""
    return fill is not None and dtype.kind in "iu" and step == 1 and 0 <= fill - low <= FILL


def is_fill(values: np.ndarray, fill: float) -> np.ndarray:
    """Where values are the fill, NaN too."""
    if values.dtype.kind != "f":
        return values == values.dtype.type(fill)
    return np.isnan(values) if math.isnan(fill) else values == values.dtype.type(fill)


def to_samples(values: np.ndarray, bands: Sequence[Band]) -> np.ndarray:
    """Values (h, w, bands) as samples: uint16 of the same shape."""
    samples = np.empty(values.shape, np.uint16)
    for n, band in enumerate(bands):
        map_, plane = band.values, values[..., n]
        assert map_ is not None
        with np.errstate(invalid="ignore", over="ignore"):
            steps = np.rint((plane.astype(np.float64) - map_.offset) / map_.scale)
            samples[..., n] = np.nan_to_num(steps, nan=0).clip(0, FILL if map_.scale == 1 else LARGEST)
        if map_.fill is not None:
            samples[..., n][is_fill(plane, map_.fill)] = band.nodata
    return samples


def to_values(planes: np.ndarray, layout: Layout) -> np.ndarray:
    """Decoded planes (h, w, planes) as values of the raster's own type; as they are where that is the samples' type."""
    if not layout.has_values:
        return planes
    values = np.empty(planes.shape, layout.value_type)
    if layout.has_alpha:
        values[..., layout.alpha_plane] = planes[..., layout.alpha_plane]
    for n, band in enumerate(layout.bands):
        plane = layout.plane_of(n)
        values[..., plane] = _plane_values(planes[..., plane], band, values.dtype)
    return values


def _plane_values(samples: np.ndarray, band: Band, dtype: np.dtype) -> np.ndarray:
    map_ = band.values
    assert map_ is not None
    exact = map_.offset + samples.astype(np.float64) * map_.scale
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        exact = np.rint(exact).clip(float(limits.min), float(limits.max))
        with np.errstate(invalid="ignore"):
            values = exact.astype(dtype)
    else:
        with np.errstate(over="ignore"):
            values = exact.astype(dtype)
    for special in {map_.fill, map_.nodata} - {None}:
        value = _in_type(special, dtype)
        if value is not None:
            _leave(values, dtype.type(value))
    if map_.fill is not None:
        values[samples == band.nodata] = dtype.type(map_.fill)
    return values


def _leave(values: np.ndarray, special: Any) -> None:
    """Moves values that came out as one that is not valid to the next value of their type."""
    there = values == special
    if not there.any():
        return
    if values.dtype.kind == "f":
        values[there] = np.nextafter(special, values.dtype.type(np.inf))
    else:
        values[there] = special + 1 if special < np.iinfo(values.dtype).max else special - 1
