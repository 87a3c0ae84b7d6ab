"""Tables over the quality: a row for each knot 0 to 7, linear interpolation between two knots."""

from __future__ import annotations

import torch
from torch import Tensor

from ..format.limits import QUALITY_STEPS


def knots_of(quality: int, device: torch.device | None = None) -> Tensor:
    """Converts a quality in 1/32 steps to the input of the float graph: float32 (1,) in 0..7."""
    return torch.tensor([quality / QUALITY_STEPS], dtype=torch.float32, device=device)


def interpolate_knots(table: Tensor, quality: Tensor) -> Tensor:
    """Interpolates a float table (knots, c) at each quality (b,) in 0..knots - 1: (b, c)."""
    low = quality.floor().long().clamp(0, table.shape[0] - 2)
    fraction = (quality - low).unsqueeze(1)
    return table[low] * (1 - fraction) + table[low + 1] * fraction


def interpolate_integers(table: Tensor, quality: int) -> Tensor:
    """Interpolates an int64 table (knots, c) at a quality in 1/32 steps, rounded half up: int64 (c,)."""
    low = min(quality // QUALITY_STEPS, table.shape[0] - 2)
    fraction = quality - low * QUALITY_STEPS
    mixed = table[low] * (QUALITY_STEPS - fraction) + table[low + 1] * fraction
    return torch.div(mixed + QUALITY_STEPS // 2, QUALITY_STEPS, rounding_mode="floor")
