"""From latents to an image, as files have them."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from ..base.device import autocast, full_precision
from ..network import wavelet
from ..network.knots import knots_of
from ..network.parameters import MEAN_UNIT
from ..weights.model import Model


def synthesise(model: Model, y_hat: Tensor, quality: int) -> Tensor:
    """y-hat (b, M, h, w) in 1/16 step to images (b, 3, 16 h, 16 w), float32, about 0..1.

    The quality is in 1/32 steps.
    """
    y, knots = _dequantised(model, y_hat, quality)
    # The paper's network makes the whole image: in bf16 it would be more than one level off.
    precision = nullcontext() if model.net.config.paper else autocast(model.device)
    with precision:
        return model.net.synthesis(y.contiguous(memory_format=torch.channels_last), knots)


def linear_image(model: Model, y_hat: Tensor, quality: int) -> Tensor:
    """As :func:`synthesise`, but the linear path alone, of a model that has one."""
    shortcut = model.net.synthesis.shortcut
    assert shortcut is not None
    y, _ = _dequantised(model, y_hat, quality)
    with full_precision(model.device):
        return wavelet.unpack(shortcut(y))


def _dequantised(model: Model, y_hat: Tensor, quality: int) -> tuple[Tensor, Tensor]:
    """Latents times the inverse gain, and the quality as the network takes it."""
    knots = knots_of(quality, y_hat.device)
    return y_hat.float() * (model.net.inverse_gain(knots) / MEAN_UNIT), knots
