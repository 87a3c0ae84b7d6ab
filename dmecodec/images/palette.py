"""The colours of a paletted image, as rasterio reports them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ImageError
from ..format.layout import Layout
from .advice import EXPAND
from .options import ReadOptions
from .read_record import is_integer
from .scaling import make_layout
from .validity import has_dataset_mask

OPAQUE = 255


def palette_of(data: Any) -> np.ndarray | None:
    """The colours that a paletted file stands for: uint8 (256, 3 or 4 where some are transparent), or None.

    Raises:
        ImageError: the palette is of samples that are not bytes.
    """
    if data.colorinterp[0].name != "palette":
        return None
    try:
        colours = data.colormap(1)
    except ValueError:  # it is said to be paletted, but has no palette
        return None
    if data.count > 1 or data.dtypes[0] != "uint8":
        raise ImageError(f"has a palette of {data.dtypes[0]} in {data.count} bands; {EXPAND}")
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = OPAQUE
    for index, colour in colours.items():
        table[index & 255] = colour
    nodata = data.nodatavals[0]
    if nodata is not None and is_integer(nodata) and 0 <= nodata <= 255:
        table[int(nodata), 3] = OPAQUE  # GDAL makes it transparent; it becomes a mask
    return table if (table[:, 3] < OPAQUE).any() else table[:, :3]


def palette_layout(data: Any, palette: np.ndarray, options: ReadOptions) -> Layout:
    """Three bands; with transparent colours alpha, else with nodata or a mask a mask.

    Which colour the nodata index has says nothing, and lossy coding would move it: so it becomes a mask.

    Raises:
        ImageError: a user gives a nodata value, of which it is not clear whether it is an index.
    """
    if options.nodata is not None:
        raise ImageError(f"has a palette, so --nodata cannot name a sample; {EXPAND}")
    if palette.shape[1] == 4:
        return make_layout(8, [None] * 3, alpha_at=3)
    has_mask = options.geo and (data.nodatavals[0] is not None or has_dataset_mask(data))
    return make_layout(8, [None] * 3, mask=has_mask)
