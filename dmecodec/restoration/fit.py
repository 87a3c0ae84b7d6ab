"""The encoder's choice of coefficients: it minimises bits + weight * squared error over the sampled part of a tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..base.device import full_precision
from ..network.lambdas import error_price
from .details import DETAILS, NO_FILTER, STEP, details, mirrored, on_axes
from .prior import LARGEST, VALUES, code_lengths

_SWEEPS = 12
"""Largest number of sweeps of the coordinate descent; it usually converges after 3 or 4."""
_MIN_SAMPLED_PIXELS = 128**2
"""Fit only if at least this many pixels were sampled, or the whole tile."""
_UNSAMPLED_BITS = 4.0
"""Penalty in bits per coefficient, times unsampled pixels / sampled pixels: part of the fit follows noise."""
_MAX_DETAIL_RATIO = 2.0
"""The fit applies to the unsampled part up to this ratio of its mean square detail to that of the sampled part."""
_PATCH, _PATCH_SPACING = 48, 64
"""Side and spacing in pixels of the patches at which the original of a sampled area is measured."""


@dataclass
class Statistics:
    """Sums over the sampled pixels, from which the error of a filtered tile follows.

    Attributes:
        gram: products of two details, (12, 12).
        cross: products of a detail and the error on an axis, (12, 3).
        pixels: number of sampled pixels.
        squares: mean square of each detail of the original there, times `pixels`, (12,).
    """

    gram: np.ndarray
    cross: np.ndarray
    pixels: int
    squares: np.ndarray

    @classmethod
    def none(cls) -> Statistics:
        """The statistics of no pixels."""
        return cls(np.zeros((DETAILS, DETAILS)), np.zeros((DETAILS, 3)), 0, np.zeros(DETAILS))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.gram + other.gram, self.cross + other.cross, self.pixels + other.pixels, self.squares + other.squares
        )


def statistics(x: Tensor, original: Tensor, error: Tensor, counts: np.ndarray) -> Statistics:
    """Computes the statistics of one sampled area.

    Args:
        x: decoded pixels (1, 3, h, w), nominally in 0..1.
        original: of the same shape.
        error: original - x, 0 in bands that do not count.
        counts: which pixels count, bool (h, w).
    """
    counted = torch.from_numpy(counts).to(x.device)
    with full_precision(x.device):
        details_of_x = details(mirrored(on_axes(x.contiguous())))[0, :, counted].cpu().double()
        error_on_axes = on_axes(error)[0, :, counted].cpu().double()
        gram, cross = details_of_x @ details_of_x.T, details_of_x @ error_on_axes.T
    pixels = details_of_x.shape[1]
    return Statistics(gram.numpy(), cross.numpy(), pixels, pixels * mean_squares(original, _PATCH_SPACING))


def mean_squares(original: Tensor, spacing: int) -> np.ndarray:
    """Mean square of each detail of an image (1, 3, h, w), over patches at this spacing in pixels: (12,)."""
    if min(original.shape[2:]) < _PATCH:
        return np.zeros(DETAILS)
    with full_precision(original.device):
        patches = original.unfold(2, _PATCH, spacing).unfold(3, _PATCH, spacing)[0]
        patches = patches.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
        squares = details(on_axes(patches)).square().mean((0, 2, 3))
    return squares.cpu().double().numpy()


def is_sampled_enough(sampled: int, pixels: int) -> bool:
    """Whether a filter can be fitted to a tile of which `sampled` of its `pixels` are sampled."""
    return sampled >= max(1, min(pixels, _MIN_SAMPLED_PIXELS))


def choose(sampled: Statistics, pixels: int, squares: np.ndarray, quality: int) -> np.ndarray:
    """Chooses the coefficients of a tile.

    Coordinate descent from the rounded least-squares solution: it sets each coefficient in turn to the least cost.

    Args:
        sampled: the statistics of the sampled part of the tile.
        pixels: number of valid pixels in the whole tile.
        squares: mean square of each detail of the original in the whole tile, (12,).
        quality: in 1/32 steps; the price of an error and the code lengths depend on it.

    Returns:
        int (3, 12), by axis and detail; all 0 if no filter pays.
    """
    if not (is_sampled_enough(sampled.pixels, pixels) and np.isfinite(sampled.gram).all()):
        return NO_FILTER
    weight, share = error_price(quality), max(1.0, pixels / sampled.pixels)
    # If the sampled part is a lake and the rest a town, the fit tells nothing about the additional detail of the town.
    excess = np.maximum(0, squares - _MAX_DETAIL_RATIO * sampled.squares / sampled.pixels)
    unsampled = np.diag((pixels - sampled.pixels) * excess)
    gram = weight * STEP**2 * (share * sampled.gram + unsampled)
    cross = weight * STEP * share * sampled.cross
    bits = code_lengths(quality) + _UNSAMPLED_BITS * (share - 1) * (VALUES != 0)
    ridge = (1e-6 * gram.diagonal().mean() + 1e-9) * np.eye(DETAILS)
    start = np.linalg.solve(gram + ridge, cross).round()
    values = np.clip(start, -LARGEST, LARGEST).astype(int)
    for _ in range(_SWEEPS):
        before = values.copy()
        for row in range(DETAILS):
            values[row] = _best(gram, cross, values, row, bits[row])
        if (values == before).all():
            break
    bits_spent = np.take_along_axis(bits, (values + LARGEST)[..., None], 2)[..., 0].sum(0)
    bits_saved = (2 * values * cross - values * (gram @ values)).sum(0)
    zero_bits = bits[:, :, LARGEST].sum(0)
    pays = bits_saved > bits_spent - zero_bits  # for each axis
    gain = np.where(pays, bits_saved - bits_spent, -zero_bits).sum()
    return (values * pays).T if gain > 0 else NO_FILTER


def _best(gram: np.ndarray, cross: np.ndarray, values: np.ndarray, row: int, bits: np.ndarray) -> np.ndarray:
    """The coefficients of one detail that have the least cost with all others fixed: int (3,)."""
    curve = gram[row, row] + 1e-12
    middle = (cross[row] - gram[row] @ values + gram[row, row] * values[row]) / curve
    cost = curve * (VALUES - middle[:, None]) ** 2 + bits
    return VALUES[cost.argmin(1)]
