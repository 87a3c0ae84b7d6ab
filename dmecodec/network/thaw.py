"""Frozen entropy parameters back to floats, to differentiate or to train."""

from __future__ import annotations

import torch

from .exact import ExactConv
from .parameters import LOG_SCALE_LOW, EntropyParameters, PassParameters


@torch.no_grad()
def thaw(target: EntropyParameters, frozen: EntropyParameters) -> None:
    """Sets the float weights of `target`, of the same shape, to the values that the integers of `frozen` represent."""
    layers = {n: m for n, m in frozen.named_modules() if isinstance(m, ExactConv)}
    for name, layer in target.named_modules():
        if isinstance(layer, ExactConv):
            weight, bias = layers[name].thaw()
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    for network in target.networks:
        assert isinstance(network, PassParameters)
        channels = network.out.weight.shape[0] // 2
        network.out.bias[:, channels:] += LOG_SCALE_LOW
