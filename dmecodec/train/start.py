"""Starting values with which the codec works before any training.

The shortcut starts from the principal components of packed wavelet coefficients, the gains from lambda, the scales from
the energies of the components. A few channels of z start active; the others start at zero, which costs no bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..network.gated import GatedAnalysis
from ..network.lambdas import LAMBDAS
from ..network.wavelet import pack, pack_to_eighth, pack_to_sixteenth
from .data import Crops
from .model import TrainingModel

_ACTIVE_CHANNELS = 32
_ACTIVE_DEVIATION = 3.0
# The best uniform step for R + lambda D, on the scale 0..1: step^2 = 18 / (ln 2 * 255^2 lambda).
_LAMBDA_AT_UNIT_STEP = 18 / (math.log(2) * 255**2)


def principal_components(images: list[np.ndarray], count: int = 150) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (768,), energies (768,) and components (768, 768) of packed coefficients, by falling energy.

    Args:
        images: uint8 (h, w, 3).
        count: approximate number of images that are used.
    """
    packed = []
    for image in images[:: max(1, len(images) // count)]:
        height, width = (extent // 16 * 16 for extent in image.shape[:2])
        pixels = torch.from_numpy(image[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255
        packed.append(pack(pixels)[0].flatten(1).T)
    coefficients = torch.cat(packed)
    mean = coefficients.mean(0)
    centred = coefficients - mean
    energies, components = torch.linalg.eigh(centred.T @ centred / len(centred))
    return mean, energies.flip(0).clamp_min(1e-8), components.flip(1)


@torch.no_grad()
def initialise(model: TrainingModel, images: list[np.ndarray], crops: Crops) -> None:
    """Sets the starting values in place; a network without the shortcut keeps its random ones."""
    net = model.net
    if net.analysis.shortcut is None or net.synthesis.shortcut is None:
        return
    m = net.config.latents
    mean, energies, components = principal_components(images)
    components = components[:, :m]
    _set(net.analysis.shortcut, components.T, -components.T @ mean)
    _set(net.synthesis.shortcut, components, mean)
    gain = 0.5 * torch.log(torch.tensor(LAMBDAS) / _LAMBDA_AT_UNIT_STEP)[:, None]
    net.log_gain.copy_(gain.expand_as(net.log_gain))
    net.log_inverse_gain.copy_(-net.log_gain)
    log_scale = 0.5 * energies[:m].log() + gain - 0.3
    for network, pass_ in zip(net.parameters_of_y.networks, net.config.passes, strict=True):
        network.out.bias[:, pass_.channels :] = log_scale[:, pass_.first : pass_.end]
    if isinstance(net.analysis, GatedAnalysis):
        _set_scales(net.analysis, crops.batch(16).cpu())
    _activate_z(model, crops)


def _set_scales(analysis: GatedAnalysis, x: Tensor) -> None:
    """Sets the scales of the stream from its standard deviations on some crops; quiet channels are limited."""
    eighth = pack_to_eighth(x)
    y = analysis.shortcut(pack_to_sixteenth(eighth))
    for scale, stream, floor in ((analysis.eighth_scale, eighth, 0.01), (analysis.sixteenth_scale, y, 0.03)):
        scale.copy_((1 / (stream.std((0, 2, 3)) + floor))[:, None, None])


def _set(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    assert layer.bias is not None
    layer.weight.copy_(weight[:, :, None, None])
    layer.bias.copy_(bias)


def _activate_z(model: TrainingModel, crops: Crops) -> None:
    """Scales the last layer of the hyper encoder, so that some channels are active, and narrows the others."""
    x = crops.batch(16).cpu()
    quality = torch.arange(16) % len(LAMBDAS)
    y = model.net.analysis(x) * model.net.gain(quality.float())
    z = model.net.hyper_encoder(y).float()
    mean, deviation = z.mean((0, 2, 3)), z.std((0, 2, 3)).clamp_min(1e-4)
    last = model.net.hyper_encoder.layers[-1]
    active = torch.arange(len(mean)) < _ACTIVE_CHANNELS
    factor = torch.where(active, _ACTIVE_DEVIATION / deviation, torch.ones_like(deviation))
    last.weight.mul_(factor[:, None, None, None])  # type: ignore[operator]
    last.bias.copy_((last.bias - mean) * factor)  # type: ignore[operator]
    narrow(model, ~active)


@torch.no_grad()
def narrow(model: TrainingModel, channels: Tensor, width: float = 0.3) -> None:
    """Gives some channels (N,) bool of z a narrow distribution, so that their zeros cost few bits."""
    from compressai.entropy_models import EntropyBottleneck

    narrowed = EntropyBottleneck(model.bottleneck.channels, init_scale=width)
    for name, value in model.bottleneck.named_parameters():
        value[channels] = dict(narrowed.named_parameters())[name][channels]
