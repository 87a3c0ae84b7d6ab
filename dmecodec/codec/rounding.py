"""Rate-distortion optimised rounding of latents: the encoder's choice, no part of the format.

A value whose nearest integer is dear is rounded one step towards the mean instead, where the bits it saves outweigh the
error it adds: J = bits + strength * weight * error^2. The weight comes from R + lambda D, with D over the image. The
synthesis is close to orthonormal (its linear path is, to a few per cent), so an error of one step in a latent adds the
square of its inverse gain to the squared error of the image.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..entropy.rans import VALUE_LIMIT, Tables
from ..network.dmenet import DMENet
from ..network.knots import knots_of
from ..network.lambdas import COLOURS, error_price
from ..network.parameters import INDEX_COUNT

T = TypeVar("T", np.ndarray, Tensor)

_STRENGTH, _FALL = 2.6, 1.2


def strength(index: T) -> T:
    """Factor on an error's weight at each scale index.

    It stands for what a latent tells the passes after it, which its own bits leave out: most where none was
    expected. Two at every index is 0.3 % worse on training crops, 1.0 another 2.0 %.
    """
    return _STRENGTH - _FALL / (INDEX_COUNT - 1) * index  # type: ignore[operator,return-value]


def step_weight(weight: Tensor, step: Tensor) -> Tensor:
    """Bits that a squared error of one step is worth, where lambda is `weight` and a step is `step` in 0..1 units."""
    return weight * 255**2 / COLOURS * step.square()


def step_weights(net: DMENet, quality: int) -> np.ndarray:
    """Bits that a squared error of one step is worth, for each latent channel: float64 (M,)."""
    place = net.log_gain.device
    steps = net.inverse_gain(knots_of(quality, place)).flatten().cpu().double()  # Apple's GPUs have no float64
    weights: np.ndarray = error_price(quality) * steps.square().numpy()
    return weights


def round_plainly(residual: Tensor) -> np.ndarray:
    """The nearest integers to y - mean: int32, flat."""
    values = torch.round(residual).clamp(1 - VALUE_LIMIT, VALUE_LIMIT - 1)
    return values.to("cpu", torch.int32).numpy().ravel()


def round_for_rate(residual: Tensor, index: np.ndarray, tables: Tables, weights: np.ndarray) -> np.ndarray:
    """Integers for y - mean, some of them one step nearer to zero than the nearest.

    Args:
        residual: (c, n) float.
        index: scale index of each, uint8, flat.
        tables: frequency tables by scale index.
        weights: of each channel, float64 (c,).

    Returns:
        int32, flat.
    """
    nearest = round_plainly(residual)
    active = np.flatnonzero(nearest)
    magnitude = np.abs(nearest[active])
    index = index[active]
    saved = tables.code_lengths(magnitude, index) - tables.code_lengths(magnitude - 1, index)
    distance = np.abs(residual.cpu().numpy().ravel()[active]) - magnitude
    weight = weights[active // residual.shape[1]] * strength(index.astype(np.float64))
    added = weight * (2 * distance + 1)  # (d + 1)^2 - d^2
    nearest[active] -= np.sign(nearest[active]) * (saved > added)
    return nearest
