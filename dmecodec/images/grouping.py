"""Which bands are coded together: the encoder's choice.

The network has learnt red, green and blue, which are much alike. Bands that are as much alike cost far less
together; bands that are not (red and near infrared over fields) look worse together than one by one, at the
same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..base.boxes import Box
from ..format.layout import GROUP, Layout
from .source import Source

ALIKE = 0.7
"""Correlation from which bands go together. Between 0.3 (worse by 3 dB) and 0.8 (a third of the size) when measured."""
_SPOTS, _SIDE = 4, 96  # a grid of 4 x 4 windows is looked at
_ENOUGH = 256  # pixels


def regrouped(source: Source, together: Sequence[int] = ()) -> Layout:
    """The source's layout with bands in groups of those that are alike.

    Args:
        source: to read samples from.
        together: bands that are known to be red, green and blue.
    """
    rest = [n for n in range(len(source.layout.bands)) if n not in together]
    groups = [tuple(together)] if together else []
    if len(rest) == 1:
        groups.append((rest[0],))
    elif rest:
        groups += _alike(rest, correlations(source))
    return replace(source.layout, groups=tuple(groups))


def _alike(bands: list[int], table: np.ndarray) -> list[tuple[int, ...]]:
    """Groups of bands, each correlated with all before it in its group; in their own order."""
    groups: list[list[int]] = []
    for band in bands:
        last = groups[-1] if groups else []
        if last and len(last) < GROUP and all(table[band, n] >= ALIKE for n in last):
            last.append(band)
        else:
            groups.append([band])
    return [tuple(group) for group in groups]


def correlations(source: Source) -> np.ndarray:
    """Correlation of each pair of bands, (bands, bands), on some windows; 1 where too little is valid."""
    layout = source.layout
    # Groups are not chosen yet: those that the layout has are but a way to read all bands.
    order = [band for group in layout.groups for band in group]
    found = []
    for box in sample_windows(source.width, source.height):
        samples = [source.samples(box, group) for group in range(len(layout.groups))]
        valid = np.ones((box.height, box.width), bool)
        for group, part in enumerate(samples):
            here = source.valid(box, part, group)
            if here is not None:
                valid &= here.all(2)
        found.append(np.concatenate(samples, 2)[valid])
    values = np.concatenate(found).astype(np.float64)
    table = np.ones((len(order), len(order)))
    if len(values) >= _ENOUGH:
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
        Box(col * width // _SPOTS, row * height // _SPOTS, _SIDE, _SIDE).clipped(whole)
        for row in range(_SPOTS)
        for col in range(_SPOTS)
    ]
