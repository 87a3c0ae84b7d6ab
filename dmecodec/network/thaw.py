"""The float form of frozen entropy parameters: what can be differentiated, or trained on."""

from __future__ import annotations

import torch

from .exact import ExactConv
from .parameters import LOG_SCALE_LOW, EntropyParameters, PassParameters


@torch.no_grad()
def thaw(target: EntropyParameters, frozen: EntropyParameters) -> None:
    """Gives `target`, of the same shape, float weights as exact as the integers of `frozen` are."""
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
