"""A known-answer test of the exact path, run when a model is loaded; it detects a device that rounds integers."""

from __future__ import annotations

import zlib

import torch

from ..base.device import full_precision
from ..network.config import HYPER_STRIDE
from ..network.dmenet import DMENet
from ..network.parameters import MEAN_UNIT
from ..network.passes import ExactPasses

_SIDE = 3  # hyper latents
_QUALITY = 100  # between two knots, so that the answer depends on interpolation


def known_answer(net: DMENet, device: torch.device, dtype: torch.dtype) -> str:
    """CRC-32 of the means and scale indices of all passes on a fixed input (docs/format.md): eight hexadecimal digits.

    Args:
        net: with frozen entropy parameters, on `device` in `dtype`.
        device, dtype: of the exact path.
    """
    parameters = net.parameters_of_y
    count = net.config.hyper * _SIDE * _SIDE
    z = (torch.arange(count) * 7919 % 23 - 11).view(1, -1, _SIDE, _SIDE)
    answer = 0
    with torch.inference_mode(), full_precision(device):
        side = HYPER_STRIDE * _SIDE
        passes = ExactPasses(parameters, z.to(device, dtype), _QUALITY, side, side)
        for i in range(len(passes)):
            mean, index = passes.predict(i)
            pattern = (torch.arange(mean.numel()) * 104729 % 7 - 3).view(mean.shape)
            passes.store(i, mean.to(torch.int32) + MEAN_UNIT * pattern.to(mean.device, torch.int32))
            outputs = torch.stack([mean, index]).to("cpu", torch.int32)
            answer = zlib.crc32(outputs.numpy().astype("<i4").tobytes(), answer)
    return f"{answer:08x}"
