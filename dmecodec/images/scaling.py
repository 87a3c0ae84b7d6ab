"""Which samples of 16 bits the network's 0 and 1 stand for: the encoder's choice, stored with each band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..base.boxes import Box
from ..errors import ImageError, OptionError
from ..format.layout import Alpha, Band, Layout, grouped
from .options import AUTO, Scale
from .source import Source

_SCAN_PIXELS = 1 << 22
"""Pixels that are read at a time to find the range of their samples."""


def make_layout(
    depth: int,
    nodata: Sequence[float | None],
    *,
    alpha_at: int | None = None,
    mask: bool = False,
) -> Layout:
    """The layout of bands with these nodata values, not scaled yet and in groups by number.

    Args:
        depth: bits of a sample.
        nodata: of each band that is coded, or None.
        alpha_at: place of an alpha band, or None.
        mask: whether a mask stands beside the bands.

    Raises:
        OptionError: where a nodata value is no sample.
    """
    largest = 2**depth - 1
    for value in nodata:
        if value is not None and not (0 <= value <= largest and value == int(value)):
            raise OptionError(f"nodata {value}: must be an integer between 0 and {largest}")
    alpha = Alpha.MASK if mask else Alpha.NONE if alpha_at is None else Alpha.BAND
    bands = tuple(Band(None if value is None else int(value), 0, largest) for value in nodata)
    return Layout(depth, bands, grouped(len(nodata)), alpha, alpha_at or 0)


def with_nodata(layout: Layout, nodata: float) -> Layout:
    """The layout with a nodata value for every band.

    Raises:
        OptionError: no sample can have it.
    """
    if not (0 <= nodata <= layout.largest and nodata == int(nodata)):
        raise OptionError(f"nodata {nodata:g}: must be an integer between 0 and {layout.largest}")
    return replace(layout, bands=tuple(replace(band, nodata=int(nodata)) for band in layout.bands))


def scaled(source: Source, scale: Scale | None) -> Layout:
    """The layout with its scale: the one given, or the range of each band's valid samples.

    Raises:
        OptionError: where the scale is none, or the samples have 8 bits.
        ImageError: where an alpha band of 16 bits has values that 8 bits cannot say.
    """
    layout = source.layout
    if scale is not None:
        _check_scale(scale, layout)
    if layout.depth == 8:
        return layout
    lows, highs = _ranges(source)
    if scale is not None and scale != AUTO:
        low, high = map(int, scale)
        return layout.with_scale([(low, high)] * len(layout.bands))
    return layout.with_scale([_range(*pair) for pair in zip(lows, highs, strict=True)])


def _check_scale(scale: Scale, layout: Layout) -> None:
    if layout.depth == 8:
        raise OptionError("a scale is for samples of 16 bits; these have 8")
    if scale == AUTO:
        return
    low, high = scale
    if not 0 <= low < high <= layout.largest or (low, high) != (int(low), int(high)):
        raise OptionError(f"scale {low},{high}: must be two samples of 16 bits, the lower one first")


def _range(low: int, high: int) -> tuple[int, int]:
    """A scale for samples from `low` to `high`; for a constant band, or none that is valid, too."""
    if low > high:
        return 0, 65535
    return (low, high) if low < high else (low, low + 1) if low < 65535 else (low - 1, low)


def _ranges(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest valid sample of each band, found strip by strip."""
    layout = source.layout
    lows = np.full(len(layout.bands), layout.largest, np.int64)
    highs = np.full(len(layout.bands), -1, np.int64)
    step = max(1, _SCAN_PIXELS // source.width)
    for top in range(0, source.height, step):
        box = Box(0, top, source.width, min(step, source.height - top))
        if layout.has_alpha:
            _check_alpha(source.read(box, [layout.alpha_plane]))
        for group, members in enumerate(layout.groups):
            samples = source.samples(box, group)
            valid = source.valid(box, samples, group)
            for n, band in enumerate(members):
                values = samples[..., n] if valid is None else samples[..., n][valid[..., n]]
                if values.size:
                    lows[band] = min(lows[band], values.min())
                    highs[band] = max(highs[band], values.max())
    return lows, highs


def _check_alpha(plane: np.ndarray) -> None:
    if plane.dtype == np.uint16 and (plane % 257).any():
        raise ImageError(
            "its alpha band has values of 16 bits that 8 bits cannot say; make it a mask of 0 and 65535, or leave it "
            "out with 'gdal_translate -b 1 -b 2 -b 3 IN OUT.tif'"
        )
