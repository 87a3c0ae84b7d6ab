"""The restoration filter: weighted details of the decoded image are added to it.

A detail is the difference between means over two neighbourhoods of increasing radius, of one colour axis.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..base.device import full_precision

RADII = (1, 2, 4, 8)
"""Radii r of the neighbourhoods, squares with a side of 2 r + 1 pixels; each is twice the one before."""
REACH = RADII[-1]
"""Radius of the receptive field in pixels."""
DETAILS = 3 * len(RADII)
"""Number of details: three colour axes for each radius."""
NO_FILTER = np.zeros((3, DETAILS), int)
"""Coefficients of the identity."""
NO_FILTER.flags.writeable = False
STEP = 1 / 32
"""Step of a coefficient; the file holds integers."""

_AXES = ((1, 1, 1), (1, 0, -1), (1, -2, 1))
"""Luma and two chroma axes in red, green and blue, not normalised."""
_CHUNK = 256
"""Side in pixels of the squares that are filtered at a time, so that they fit in the cache of the processor."""


def _axes(like: Tensor) -> Tensor:
    """The orthonormal transform T: (3, 3)."""
    return like.new_tensor([[v / math.hypot(*axis) for v in axis] for axis in _AXES])


def on_axes(x: Tensor) -> Tensor:
    """Red, green and blue (b, 3, h, w) to luma and chroma, of the same shape."""
    return (_axes(x) @ x.flatten(2)).reshape(x.shape)


def mirrored(x: Tensor) -> Tensor:
    """Pads REACH pixels on every side by reflection, with the border pixel repeated.

    With this padding a mean over neighbours is a symmetric matrix, so it is its own gradient.
    """
    for dim in (2, 3):
        size = x.shape[dim]
        if size < REACH:  # several reflections
            index = torch.arange(-REACH, size + REACH) % (2 * size)
            x = x.index_select(dim, torch.minimum(index, 2 * size - 1 - index).to(x.device))
        else:
            before, after = x.narrow(dim, 0, REACH), x.narrow(dim, size - REACH, REACH)
            x = torch.cat([before.flip(dim), x, after.flip(dim)], dim)
    return x


def details(x: Tensor) -> Tensor:
    """Computes the details of an image.

    Args:
        x: luma and chroma, :func:`mirrored`: (b, 3, h + 2 REACH, w + 2 REACH).

    Returns:
        (b, 12, h, w): by radius, then by axis.
    """
    height, width = (side - 2 * REACH for side in x.shape[2:])
    finer = x[:, :, REACH : REACH + height, REACH : REACH + width]
    result = torch.empty(x.shape[0], DETAILS, height, width, dtype=x.dtype, device=x.device)
    for n, row_sums in enumerate(_sums(x, 3, RADII)):
        coarser = _sums(row_sums, 2, RADII[: n + 1])[-1] / (2 * RADII[n] + 1) ** 2
        torch.sub(finer, coarser, out=result[:, 3 * n : 3 * n + 3])
        finer = coarser
    return result


def _sums(x: Tensor, dim: int, radii: tuple[int, ...]) -> list[Tensor]:
    """Sums over 2 r + 1 values along an axis for each radius, by doubling; the axis gets 2 REACH shorter."""
    size = x.shape[dim] - 2 * REACH
    sums: list[Tensor] = []
    run, length = x, 1  # sums of `length` consecutive values
    for radius in radii:
        remaining = run.shape[dim] - length
        run = run.narrow(dim, 0, remaining) + run.narrow(dim, length, remaining)
        length *= 2
        sums.append(run.narrow(dim, REACH - radius, size) + x.narrow(dim, REACH + radius, size))
    return sums


def correction(x: Tensor, coefficients: Tensor) -> Tensor:
    """The image that the filter adds: luma and chroma (b, 3, h, w), by coefficients (b, 3, 12)."""
    wide = mirrored(x)
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    for row in range(0, x.shape[2], _CHUNK):
        for col in range(0, x.shape[3], _CHUNK):
            side = _CHUNK + 2 * REACH
            chunk = details(wide[:, :, row : row + side, col : col + side])
            sums = (coefficients @ chunk.flatten(2)).reshape(chunk.shape[0], 3, *chunk.shape[2:])
            out[:, :, row : row + _CHUNK, col : col + _CHUNK] = sums
    return out


def in_steps(coefficients: np.ndarray, like: Tensor) -> Tensor:
    """Integer coefficients (3, 12) of a file to the coefficients (1, 3, 12) of :func:`apply`."""
    return torch.from_numpy(coefficients).to(like.device, like.dtype)[None] * STEP


def apply(x: Tensor, coefficients: Tensor) -> Tensor:
    """Filters an image.

    Args:
        x: red, green and blue, (b, 3, h, w).
        coefficients: (b, 3, 12): weight of each detail in the sum for each axis.

    Returns:
        The dtype and shape of x.
    """
    with full_precision(x.device):
        sums = _axes(x).T @ correction(on_axes(x), coefficients).flatten(2)
    return x + sums.reshape(x.shape)
