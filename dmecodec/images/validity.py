"""Which samples are valid, as rasterio reports it: alpha, a mask, nodata values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ImageError
from ..format.layout import Layout
from .advice import CHOOSE, STRAIGHTEN
from .gdal import PIXELS_ALONE
from .read_record import is_integer
from .scaling import make_layout
from .values import needs_map


def alpha_band(data: Any) -> int | None:
    """Place of the alpha band, or None.

    Raises:
        ImageError: there are several, nothing beside it, or the colours are multiplied by it.
    """
    alphas = [n for n, color in enumerate(data.colorinterp) if color.name == "alpha"]
    if len(alphas) > 1 or (alphas and data.count == 1):
        raise ImageError(f"has {len(alphas)} alpha bands among {data.count}; {CHOOSE}")
    for band in range(1, data.count + 1):
        if data.tags(band, ns="IMAGE_STRUCTURE").get("ALPHA") == "PREMULTIPLIED":
            raise ImageError(f"has its colours multiplied by alpha; {STRAIGHTEN}")
    return alphas[0] if alphas else None


def has_dataset_mask(data: Any) -> bool:
    """Whether a mask beside the bands, which is no alpha band, is for all of them."""
    names = {flag.name for flag in data.mask_flag_enums[0]}
    return "per_dataset" in names and not names & {"alpha", "nodata"}


def nodata_layout(data: Any, coded: Sequence[int], depth: int, alpha_at: int | None, nodata: float | None) -> Layout:
    """The layout of some bands with their nodata values and mask, 16 bits not scaled yet.

    Args:
        data: an open rasterio dataset.
        coded: its bands beside alpha, counted from 0.
        depth: bits of a sample.
        alpha_at: place of the alpha band.
        nodata: a value that a user gives instead of the file's.

    Raises:
        ImageError: the bands have different nodata values, or masks that no GeoTIFF can hold.
    """
    values = [_sample(data.nodatavals[n], depth) if nodata is None else nodata for n in coded]
    if needs_map(np.dtype(data.dtypes[0])):  # whose maps take care of nodata
        values = [None] * len(coded)
    if len(set(values)) > 1:
        raise ImageError(
            f"its bands have different nodata values ({', '.join(map(str, values))}), of which a GeoTIFF holds one; "
            f"give one for all with --nodata VALUE{PIXELS_ALONE}"
        )
    mask = has_dataset_mask(data)
    flags = [{flag.name for flag in data.mask_flag_enums[n]} for n in coded]
    if not mask and any(not names for names in flags):
        raise ImageError(f"has a mask for each band; make it one for all, or a nodata value{PIXELS_ALONE}")
    if mask and alpha_at is not None:
        raise ImageError(f"has both an alpha band and a mask; leave one out: {CHOOSE}")
    return make_layout(depth, values, alpha_at=alpha_at, mask=mask)


def _sample(value: float | None, depth: int) -> int | None:
    """A nodata value as a sample; None for one that no sample can have."""
    if value is None or not is_integer(value) or not 0 <= value < 2**depth:
        return None
    return int(value)
