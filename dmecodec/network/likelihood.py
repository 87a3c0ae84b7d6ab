"""Likelihoods of integer latents: Gaussians integrated over unit intervals (equation 13)."""

from __future__ import annotations

import torch
from torch import Tensor

_LIKELIHOOD_MIN = 1e-9
_LOG_SCALE_RANGE = (-3.0, 6.0)


def gaussian_likelihood(y: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Probability p of the unit interval around y in equation 13.

    Args:
        y, mean: in steps, any shape.
        log_scale: in nats, of the same shape; clamped to -3..6.

    Returns:
        float32 of the same shape, at least 1e-9.
    """
    scale = log_scale.clamp(*_LOG_SCALE_RANGE).exp()
    distance = (y - mean).abs()
    upper = torch.special.ndtr((0.5 - distance) / scale)
    lower = torch.special.ndtr((-0.5 - distance) / scale)
    return (upper - lower).clamp_min(_LIKELIHOOD_MIN)
