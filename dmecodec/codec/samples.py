"""Samples to the numbers that the network sees, about 0 to 1, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..format.layout import Layout


def to_network(samples: np.ndarray, layout: Layout, group: int) -> np.ndarray:
    """Scales the samples (h, w, c) of a group's bands to 0..1: float32 of the same shape."""
    x = samples.astype(np.float32)
    if layout.depth == 8:
        x /= 255
        return x
    bands = [layout.bands[band] for band in layout.groups[group]]
    low = np.array([band.low for band in bands], np.float32)
    high = np.array([band.high for band in bands], np.float32)
    return (x.clip(low, high) - low) / (high - low)


def to_three(x: Tensor) -> Tensor:
    """One or two bands (1, c, h, w) as the three that the network takes: a, a, a or a, b, b."""
    last = x.shape[1] - 1
    return x.index_select(1, torch.tensor([0, min(1, last), last], device=x.device))


def from_three(x: Tensor, bands: int) -> Tensor:
    """The inverse, for (3, h, w): of what stands for the same band, the mean."""
    if bands == 1:
        return x.mean(0, keepdim=True)
    return x if bands == 3 else torch.stack([x[0], (x[1] + x[2]) / 2])


def from_network(x: Tensor, layout: Layout, group: int) -> Tensor:
    """Scales what the network gave (c, h, w) back, not yet rounded: float32 within each band's scale."""
    if layout.depth == 8:
        return (x * 255).clamp_(0, 255)
    bands = [layout.bands[band] for band in layout.groups[group]]
    low = x.new_tensor([band.low for band in bands])[:, None, None]
    high = x.new_tensor([band.high for band in bands])[:, None, None]
    return (x * (high - low)).add_(low).clamp_(low, high)


def to_samples(x: Tensor, valid: np.ndarray | None, layout: Layout, group: int) -> np.ndarray:
    """Rounds scaled values to samples; a valid one never becomes nodata, any other is nodata or 0.

    Args:
        x: float32 (c, h, w) from :func:`from_network`.
        valid: bool (h, w, c), or None where all are.
        layout, group: which bands they are.

    Returns:
        uint8 or uint16 (h, w, c).
    """
    rounded = x.round().to(torch.uint8 if layout.depth == 8 else torch.int32)
    samples = rounded.permute(1, 2, 0).contiguous().cpu().numpy().astype(layout.dtype, copy=False)
    for n, band in enumerate(layout.bands[band] for band in layout.groups[group]):
        if band.nodata is not None:
            _leave(samples[..., n], x[n], band.nodata, layout.largest)
        if valid is not None:
            samples[..., n][~valid[..., n]] = band.nodata or 0
    return samples


def _leave(plane: np.ndarray, x: Tensor, nodata: int, largest: int) -> None:
    """Moves samples one level away from nodata, to the side where they lay before they were rounded."""
    there = plane == nodata
    if there.any():
        before = x.cpu().numpy()[there]
        up = (before >= nodata) & (nodata < largest) | (nodata == 0)
        plane[there] = np.where(up, nodata + 1, nodata - 1)


def nowhere_valid(height: int, width: int, layout: Layout, group: int) -> np.ndarray:
    """What stands where nothing is valid: nodata or 0, (height, width, c)."""
    bands = [layout.bands[band] for band in layout.groups[group]]
    values = np.array([band.nodata or 0 for band in bands], layout.dtype)
    return np.broadcast_to(values, (height, width, len(bands)))
