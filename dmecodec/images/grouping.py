"""Which bands are coded together: the encoder's choice.

The network has learnt red, green and blue, which are highly correlated. Bands that are as highly correlated cost far
less together. Bands that are not, such as red and near infrared over fields, look worse together than one by one, at
the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..base.boxes import Box
from ..format.layout import GROUP, Layout
from .source import Source

MIN_CORRELATION = 0.7
"""Bands go together from this correlation on. Measured: at 0.3 they are worse by 3 dB, at 0.8 a third of the size."""
_GRID, _SIDE = 4, 96
"""Correlations are measured on a grid of 4 x 4 windows of so many pixels a side."""
_MIN_PIXELS = 256
"""Correlations of fewer valid pixels are not used."""


def regrouped(source: Source, together: Sequence[int] = ()) -> Layout:
    """The source's layout with correlated bands in groups.

    Args:
        source: to read samples from.
        together: bands that are known to be red, green and blue.
    """
    rest = [n for n in range(len(source.layout.bands)) if n not in together]
    groups = [tuple(together)] if together else []
    if len(rest) == 1:
        groups.append((rest[0],))
    elif rest:
        groups += _correlated_groups(rest, correlations(source))
    return replace(source.layout, groups=tuple(groups))


def _correlated_groups(bands: list[int], table: np.ndarray) -> list[tuple[int, ...]]:
    """Groups of bands, each correlated with all before it in its group; in their own order."""
    groups: list[list[int]] = []
    for band in bands:
        last = groups[-1] if groups else []
        if last and len(last) < GROUP and all(table[band, n] >= MIN_CORRELATION for n in last):
            last.append(band)
        else:
            groups.append([band])
    return [tuple(group) for group in groups]


def correlations(source: Source) -> np.ndarray:
    """Correlation of each pair of bands, (bands, bands), on some windows; 1 where too little is valid."""
    layout = source.layout
    # Groups are not chosen yet: those that the layout has are but a way to read all bands.
    order = [band for group in layout.groups for band in group]
    parts = []
    for box in sample_windows(source.width, source.height):
        samples = [source.samples(box, group) for group in range(len(layout.groups))]
        valid = np.ones((box.height, box.width), bool)
        for group, part in enumerate(samples):
            valid_samples = source.valid(box, part, group)
            if valid_samples is not None:
                valid &= valid_samples.all(2)
        parts.append(np.concatenate(samples, 2)[valid])
    values = np.concatenate(parts).astype(np.float64)
    table = np.ones((len(order), len(order)))
    if len(values) >= _MIN_PIXELS:
        values -= values.mean(0)
        spread = np.maximum(np.sqrt(np.square(values).sum(0)), 1e-9)
        table[np.ix_(order, order)] = values.T @ values / np.outer(spread, spread)
    return table


def sample_windows(width: int, height: int) -> list[Box]:
    """Windows spread evenly over an image; the whole of a small one."""
    if max(width, height) <= 2 * _SIDE:
        return [Box(0, 0, width, height)]
    whole = Box(0, 0, width, height)
    return [
        Box(col * width // _GRID, row * height // _GRID, _SIDE, _SIDE).clipped(whole)
        for row in range(_GRID)
        for col in range(_GRID)
    ]
