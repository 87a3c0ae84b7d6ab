"""Smooth values for pixels that are not valid, so that the edge of a survey costs few bits.

The encoder's choice alone: a decoder never looks at these pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def fill(x: Tensor, valid: Tensor) -> Tensor:
    """Replaces what is not valid by a mean of what is valid around it (pull-push); 0 where nothing is.

    Args:
        x: (1, c, h, w) float32.
        valid: of the same shape, bool.

    Returns:
        As `x`, unchanged where it is valid.
    """
    if valid.all() or x.shape[2:] == (1, 1):
        return x.where(valid, x.new_zeros(()))
    # Means over 2 x 2 of what is valid, filled in turn where a cell has nothing, then made larger.
    weights = _halved(valid.float())
    means = _halved(x.where(valid, x.new_zeros(()))) / weights.clamp(min=0.25)
    coarse = fill(means, weights > 0)
    smooth = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return x.where(valid, smooth[:, :, : x.shape[2], : x.shape[3]])


def _halved(x: Tensor) -> Tensor:
    """Means over 2 x 2, with zeros beyond the lower and right border."""
    return F.avg_pool2d(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2)
