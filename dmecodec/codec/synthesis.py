"""From latents to an image, as files have them."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from ..base.device import autocast
from ..network.knots import knots_of
from ..network.parameters import MEAN_UNIT
from ..weights.model import Model


def synthesise(model: Model, y_hat: Tensor, quality: int) -> Tensor:
    """y-hat (b, M, h, w) in 1/16 step to images (b, 3, 16 h, 16 w), float32, about 0..1.

    The quality is in 1/32 steps.
    """
    knots = knots_of(quality, y_hat.device)
    y = y_hat.float() * (model.net.inverse_gain(knots) / MEAN_UNIT)
    # The paper's network makes the whole image: in bf16 it would be more than one level off.
    precision = nullcontext() if model.net.config.paper else autocast(model.device)
    with precision:
        return model.net.synthesis(y.contiguous(memory_format=torch.channels_last), knots)
