"""The encoder's choice of coefficients: those of the least bits + weight * squared error."""

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
"""Coordinate descent ends sooner, after 3 or 4."""
_LEAST = 128**2
"""Pixels that say enough of those that were not looked at."""
_GUESS = 4.0
"""Bits that a coefficient must save more for each part of a tile that was not looked at: it has followed noise."""
_LIKE = 2.0
"""What was not looked at may have so many times the detail of what was, and be taken for the same kind of scene."""
_PATCH, _APART = 48, 64
"""Side of a patch of the original, and how far apart they lie in what was looked at."""


@dataclass
class Statistics:
    """What the error of a filtered tile depends on, as sums over the pixels that were looked at.

    Attributes:
        gram: products of two details, (12, 12).
        cross: products of a detail and the error on an axis, (12, 3).
        pixels: how many there were.
        squares: mean square of each of the original's details around there, times `pixels`, (12,).
    """

    gram: np.ndarray
    cross: np.ndarray
    pixels: int
    squares: np.ndarray

    @classmethod
    def none(cls) -> Statistics:
        """Of no pixels."""
        return cls(np.zeros((DETAILS, DETAILS)), np.zeros((DETAILS, 3)), 0, np.zeros(DETAILS))

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            self.gram + other.gram,
            self.cross + other.cross,
            self.pixels + other.pixels,
            self.squares + other.squares,
        )


def statistics(x: Tensor, original: Tensor, error: Tensor, counts: np.ndarray) -> Statistics:
    """Of a part of a tile.

    Args:
        x: decoded (1, 3, h, w), about 0..1.
        original: of the same shape.
        error: what x lacks of it, as far as that matters.
        counts: which pixels count, (h, w) bool.
    """
    where = torch.from_numpy(counts).to(x.device)
    with full_precision(x.device):
        of_x = details(mirrored(on_axes(x.contiguous())))[0, :, where].cpu().double()
        on_axis = on_axes(error)[0, :, where].cpu().double()
        gram, cross = of_x @ of_x.T, of_x @ on_axis.T
    pixels = of_x.shape[1]
    return Statistics(gram.numpy(), cross.numpy(), pixels, pixels * mean_squares(original, _APART))


def mean_squares(original: Tensor, apart: int) -> np.ndarray:
    """Mean square of each detail of an image (1, 3, h, w), judged by patches so far apart: (12,)."""
    if min(original.shape[2:]) < _PATCH:
        return np.zeros(DETAILS)
    with full_precision(original.device):
        patches = original.unfold(2, _PATCH, apart).unfold(3, _PATCH, apart)[0]
        patches = patches.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
        squares = details(on_axes(patches)).square().mean((0, 2, 3))
    return squares.cpu().double().numpy()


def enough(seen: int, pixels: int) -> bool:
    """Whether so many pixels say what is good for all pixels of a tile."""
    return seen >= max(1, min(pixels, _LEAST))


def choose(found: Statistics, pixels: int, usual: np.ndarray, quality: int) -> np.ndarray:
    """Int coefficients (3, 12), all 0 where a filter does not pay.

    Coordinate descent from the rounded least squares: each coefficient in turn goes where the cost is least.

    Args:
        found: in that part of a tile that was looked at.
        pixels: valid ones in the whole tile.
        usual: mean square of the original's details in the whole tile, (12,).
        quality: in 1/32 steps, which says what an error and what a coefficient costs.
    """
    if not (enough(found.pixels, pixels) and np.isfinite(found.gram).all()):
        return NO_FILTER
    weight, share = error_price(quality), max(1.0, pixels / found.pixels)
    # Where a lake was looked at and the rest is a town, nothing is known of what its details are good for.
    strange = np.maximum(0, usual - _LIKE * found.squares / found.pixels)
    unknown = np.diag((pixels - found.pixels) * strange)
    gram = weight * STEP**2 * (share * found.gram + unknown)
    cross = weight * STEP * share * found.cross
    bits = code_lengths(quality) + _GUESS * (share - 1) * (VALUES != 0)
    ridge = (1e-6 * gram.diagonal().mean() + 1e-9) * np.eye(DETAILS)
    start = np.linalg.solve(gram + ridge, cross).round()
    values = np.clip(start, -LARGEST, LARGEST).astype(int)
    for _ in range(_SWEEPS):
        before = values.copy()
        for row in range(DETAILS):
            values[row] = _best(gram, cross, values, row, bits[row])
        if (values == before).all():
            break
    spent = np.take_along_axis(bits, (values + LARGEST)[..., None], 2)[..., 0].sum(0)
    saved = (2 * values * cross - values * (gram @ values)).sum(0)
    nothing = bits[:, :, LARGEST].sum(0)
    pays = saved > spent - nothing  # of each axis
    gain = np.where(pays, saved - spent, -nothing).sum()
    return (values * pays).T if gain > 0 else NO_FILTER


def _best(gram: np.ndarray, cross: np.ndarray, values: np.ndarray, row: int, bits: np.ndarray) -> np.ndarray:
    """A row of coefficients, the others given: those of the least cost, int (3,)."""
    curve = gram[row, row] + 1e-12
    middle = (cross[row] - gram[row] @ values + gram[row, row] * values[row]) / curve
    cost = curve * (VALUES - middle[:, None]) ** 2 + bits
    return VALUES[cost.argmin(1)]
