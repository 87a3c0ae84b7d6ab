"""What the filter adds together, and the adding."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..base.device import full_precision

RADII = (1, 2, 4, 8)
"""Of the neighbourhoods, squares of 2 r + 1 pixels a side; each is twice the one before."""
REACH = RADII[-1]
"""Pixels around one that the filter sees."""
DETAILS = 3 * len(RADII)
NO_FILTER = np.zeros((3, DETAILS), int)
"""Coefficients that change nothing."""
NO_FILTER.flags.writeable = False
STEP = 1 / 32
"""Of a coefficient: in the file it is an integer."""

_AXES = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
"""Luma and two chroma axes in red, green and blue, not yet of length 1."""
_BLOCK = 256
"""Side in pixels of what is filtered at a time: it stays in a processor's cache."""


def _axes(like: Tensor) -> Tensor:
    """T, orthonormal: (3, 3)."""
    return like.new_tensor([[v / math.hypot(*axis) for v in axis] for axis in _AXES])


def on_axes(x: Tensor) -> Tensor:
    """Red, green and blue (b, 3, h, w) to luma and chroma."""
    return (_axes(x) @ x.flatten(2)).reshape(x.shape)


def mirrored(x: Tensor) -> Tensor:
    """REACH more on every side, where the image is seen in a mirror on its border.

    So a mean over neighbours is a symmetric matrix, which is its own gradient.
    """
    for dim in (2, 3):
        size = x.shape[dim]
        if size < REACH:  # more than one mirror
            index = torch.arange(-REACH, size + REACH) % (2 * size)
            x = x.index_select(dim, torch.minimum(index, 2 * size - 1 - index).to(x.device))
        else:
            before, after = x.narrow(dim, 0, REACH), x.narrow(dim, size - REACH, REACH)
            x = torch.cat([before.flip(dim), x, after.flip(dim)], dim)
    return x


def details(x: Tensor) -> Tensor:
    """Differences between means of ever larger neighbourhoods.

    Args:
        x: luma and chroma, with REACH more on every side: (b, 3, h + 2 REACH, w + 2 REACH).

    Returns:
        (b, 12, h, w): the three of each radius together.
    """
    height, width = (side - 2 * REACH for side in x.shape[2:])
    finer = x[:, :, REACH : REACH + height, REACH : REACH + width]
    found = torch.empty(x.shape[0], DETAILS, height, width, dtype=x.dtype, device=x.device)
    for n, across in enumerate(_sums(x, 3, RADII)):
        coarser = _sums(across, 2, RADII[: n + 1])[-1] / (2 * RADII[n] + 1) ** 2
        torch.sub(finer, coarser, out=found[:, 3 * n : 3 * n + 3])
        finer = coarser
    return found


def _sums(x: Tensor, dim: int, radii: tuple[int, ...]) -> list[Tensor]:
    """Sums along an axis over each radius, by doubling: what lies within REACH of its ends is used up."""
    size = x.shape[dim] - 2 * REACH
    sums, window, length = [], x, 1
    for radius in radii:
        left = window.shape[dim] - length
        window = window.narrow(dim, 0, left) + window.narrow(dim, length, left)
        length *= 2
        sums.append(window.narrow(dim, REACH - radius, size) + x.narrow(dim, REACH + radius, size))
    return sums


def added(x: Tensor, coefficients: Tensor) -> Tensor:
    """What the filter adds to luma and chroma (b, 3, h, w), by coefficients (b, 3, 12)."""
    wide = mirrored(x)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for row in range(0, x.shape[2], _BLOCK):
        for col in range(0, x.shape[3], _BLOCK):
            side = _BLOCK + 2 * REACH
            part = details(wide[:, :, row : row + side, col : col + side])
            sums = (coefficients @ part.flatten(2)).reshape(part.shape[0], 3, *part.shape[2:])
            out[:, :, row : row + _BLOCK, col : col + _BLOCK] = sums
    return out


def in_steps(coefficients: np.ndarray, like: Tensor) -> Tensor:
    """Int coefficients (3, 12), as files have them, to (1, 3, 12) for :func:`apply`."""
    return torch.from_numpy(coefficients).to(like.device, like.dtype)[None] * STEP


def apply(x: Tensor, coefficients: Tensor) -> Tensor:
    """The filtered image.

    Args:
        x: (b, 3, h, w), red, green and blue.
        coefficients: (b, 3, 12): to each axis, how much of each detail is added.
    """
    with full_precision(x.device):
        sums = _axes(x).T @ added(on_axes(x), coefficients).flatten(2)
    return x + sums.reshape(x.shape)
