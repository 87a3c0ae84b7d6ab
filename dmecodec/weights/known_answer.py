"""A known-answer test of the exact path: run when a model is loaded, so that a device that rounds is found out."""

from __future__ import annotations

import zlib

import torch

from ..base.device import full_precision
from ..network.config import HYPER_STRIDE
from ..network.dmenet import DMENet
from ..network.parameters import MEAN_UNIT
from ..network.passes import ExactPasses

_SIDE = 3  # hyper latents
_QUALITY = 100  # between two knots, so that interpolation is part of the answer


def known_answer(net: DMENet, device: torch.device, dtype: torch.dtype) -> str:
    """CRC-32 of every scale index and mean on a fixed input, as hexadecimal digits."""
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
            both = torch.stack([mean, index]).to("cpu", torch.int32)
            answer = zlib.crc32(both.numpy().astype("<i4").tobytes(), answer)
    return f"{answer:08x}"
