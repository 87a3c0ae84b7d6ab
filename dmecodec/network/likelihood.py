"""How likely integer latents are: Gaussians over unit intervals (equation 13)."""

from __future__ import annotations

import torch
from torch import Tensor

_LIKELIHOOD_MIN = 1e-9
_LOG_SCALE_RANGE = (-3.0, 6.0)


def gaussian_likelihood(y: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Probability of the unit interval around y (equation 13's p): same shape, float32."""
    scale = log_scale.clamp(*_LOG_SCALE_RANGE).exp()
    distance = (y - mean).abs()
    upper = torch.special.ndtr((0.5 - distance) / scale)
    lower = torch.special.ndtr((-0.5 - distance) / scale)
    return (upper - lower).clamp_min(_LIKELIHOOD_MIN)
