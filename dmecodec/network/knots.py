"""What a network knows of the quality: tables with a row for each knot, 0 to 7, and between two rows elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from ..format.limits import QUALITY_STEPS


def knots_of(quality: int, device: torch.device | None = None) -> Tensor:
    """A quality in 1/32 steps as the float graph takes it: float32 (1,) in 0..7."""
    return torch.tensor([quality / QUALITY_STEPS], dtype=torch.float32, device=device)


def interpolate_knots(table: Tensor, quality: Tensor) -> Tensor:
    """Row of a float table (knots, c) at each quality (b,) in 0..knots - 1, linear between knots: (b, c)."""
    low = quality.floor().long().clamp(0, table.shape[0] - 2)
    fraction = (quality - low).unsqueeze(1)
    return table[low] * (1 - fraction) + table[low + 1] * fraction


def interpolate_integers(table: Tensor, quality: int) -> Tensor:
    """Row of an int64 table (knots, c) at a quality in 1/32 steps, rounded half up: int64 (c,)."""
    low = min(quality // QUALITY_STEPS, table.shape[0] - 2)
    fraction = quality - low * QUALITY_STEPS
    mixed = table[low] * (QUALITY_STEPS - fraction) + table[low + 1] * fraction
    return torch.div(mixed + QUALITY_STEPS // 2, QUALITY_STEPS, rounding_mode="floor")
