"""The samples of one tile and group within a bound: the base image scaled to samples, plus the residual.

Invalid samples have no residual. If a band has a nodata value and the bound is above 0, the layer keeps a bound that is
one level smaller. So the decoder can move a valid sample that equals nodata by one level.
"""

from __future__ import annotations

import numpy as np

from ..format.layout import Layout
from .fit import encode_residual
from .linear import GREY_BITS, LinearBase
from .residual import decode_residual

_WHITE = 255 << GREY_BITS


def encode_bounded(
    samples: np.ndarray, valid: np.ndarray | None, base: np.ndarray, layout: Layout, group: int, bound: int
) -> bytes:
    """Encodes the RESIDUAL stream of a tile and group.

    Args:
        samples: the original, uint8 or uint16 (h, w, c).
        valid: bool (h, w, c), or None if all samples are valid.
        base: of :func:`base_samples`, of the same dtype and shape.
        layout, group: the bands of the image, and the index of the group.
        bound: largest error of a valid sample, in levels.
    """
    skip = None if valid is None else ~valid
    bound = layer_bound(layout, group, bound)
    return encode_residual(samples, base, bound, skip=skip, levels=layout.largest)


def decode_bounded(
    stream: bytes, valid: np.ndarray | None, base: np.ndarray, layout: Layout, group: int, bound: int
) -> np.ndarray:
    """Decodes the samples of a tile and group; arguments as for :func:`encode_bounded`.

    Returns:
        uint8 or uint16 (h, w, c), the same on every device.

    Raises:
        FormatError: the stream is damaged.
    """
    skip = None if valid is None else ~valid
    inner = layer_bound(layout, group, bound)
    samples = decode_residual(stream, base, inner, skip=skip, levels=layout.largest)
    for n, band in enumerate(layout.bands[band] for band in layout.groups[group]):
        plane = samples[..., n]
        if band.nodata is not None:
            neighbour = band.nodata + 1 if band.nodata < layout.largest else band.nodata - 1
            plane[plane == band.nodata] = neighbour
        if valid is not None:
            plane[~valid[..., n]] = band.nodata or 0
    return samples


def layer_bound(layout: Layout, group: int, bound: int) -> int:
    """The bound of the residual layer itself, in levels."""
    has_nodata = any(layout.bands[band].nodata is not None for band in layout.groups[group])
    return bound - 1 if has_nodata and bound > 0 else bound


def base_samples(base: LinearBase, y_hat: np.ndarray, layout: Layout, group: int) -> np.ndarray:
    """The base image of a tile, as samples of the bands of a group.

    Args:
        base: at the quality of the file.
        y_hat: int32 (M, h, w), in 1/16 step.
        layout, group: the bands of the image, and the index of the group.

    Returns:
        uint8 or uint16 (16 h, 16 w, c).
    """
    members = layout.groups[group]
    image = base.image(y_hat, grey=len(members) == 1)
    if len(members) == 2:  # the second band was coded as green and as blue: their mean, as in the synthesis
        image = np.stack([image[..., 0], (image[..., 1] + image[..., 2] + 1) >> 1], 2)
    if layout.depth == 8:
        return ((image + (1 << GREY_BITS - 1)) >> GREY_BITS).clip(0, 255).astype(np.uint8)
    samples = np.empty(image.shape, layout.dtype)
    for n, band in enumerate(layout.bands[band] for band in members):
        scaled = image[..., n].astype(np.int64) * (band.high - band.low)
        scaled = band.low + (scaled + _WHITE // 2) // _WHITE
        samples[..., n] = scaled.clip(band.low, band.high)
    return samples
