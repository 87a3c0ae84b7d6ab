"""Parameters and floating-point operations by part, counted as in Table 3 of the paper.

The convolution with ones by which SDPM spreads its weights over channels is counted: 0.02 GFLOPs per transform.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from . import wavelet
from .config import HYPER_STRIDE, PAPER, STRIDE, Config, get_config
from .dmenet import DMENet
from .gated import GatedAnalysis
from .hyperprior import HyperDecoder
from .transforms import Analysis

SIDE = 256
"""Side of the image in pixels: the paper counts 3 x 256 x 256."""


@dataclass(frozen=True)
class Part:
    """One part of a network.

    Attributes:
        name: name of the part.
        parameters: number of parameters.
        flops: operations on one 3 x 256 x 256 image; a multiply-add counts as two.
        total: whether this row is a sum of the rows before it.
    """

    name: str
    parameters: int
    flops: int
    total: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        return asdict(self)


def _size(module: nn.Module) -> int:
    return sum(v.numel() for v in module.state_dict().values())


def _flops(module: nn.Module, *inputs: Any) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


class _HyperLayers(nn.Module):
    """The layers of the hyper decoder before LSM (Table 2)."""

    def __init__(self, decoder: HyperDecoder) -> None:
        super().__init__()
        self.layers = decoder.layers

    def forward(self, x: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
        """(b, N, h, w) to (b, M, 4 h, 4 w)."""
        for layer in self.layers:
            x = layer(x, quality)
        return x


def _parts(config: Config) -> list[Part]:
    """The parts of one network. Of the entropy bottleneck (15 thousand numbers) only tables remain, not counted."""
    net = DMENet(config).eval()
    side, m, quality = SIDE // STRIDE, config.latents, torch.zeros(1)
    image, y = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, m, side, side)
    z = torch.zeros(1, config.hyper, side // HYPER_STRIDE, side // HYPER_STRIDE)
    decoder = net.parameters_of_y.decoder
    rows: list[tuple[str, nn.Module, tuple[torch.Tensor, ...]]] = [
        *_analysis(net.analysis, image, y),
        ("synthesis: R blocks and SDPM", net.synthesis.blocks, (y, quality)),
        ("hyper encoder", net.hyper_encoder, (y,)),
        ("hyper decoder", _HyperLayers(decoder), (z, quality)),
        ("LSM", decoder.lsm, (y, quality)),
    ]
    parts = [Part(name, _size(module), _flops(module, *inputs)) for name, module, inputs in rows]
    parts.append(_entropy_parameters(net, y, quality))
    if not config.paper:
        assert net.analysis.shortcut is not None and net.synthesis.shortcut is not None
        packed = torch.zeros(1, net.analysis.shortcut.in_channels, side, side)
        both = (net.analysis.shortcut, packed), (net.synthesis.shortcut, y)
        parts.append(Part("linear shortcuts", sum(_size(m) for m, _ in both), sum(_flops(*b) for b in both)))
    if net.synthesis.refinement is not None:
        refinement = net.synthesis.refinement
        features = torch.zeros(1, config.channels // 4, SIDE // 2, SIDE // 2)
        parts.append(Part("refinement", _size(refinement), _flops(refinement, image, features, quality)))
    gains = net.log_gain.numel() + net.log_inverse_gain.numel()
    parts.append(Part("gains of the qualities", gains, 0))
    return parts


def _analysis(
    analysis: Analysis | GatedAnalysis, image: torch.Tensor, y: torch.Tensor
) -> list[tuple[str, nn.Module, tuple[torch.Tensor, ...]]]:
    """The parts of the analysis but for the linear map, and their inputs."""
    if isinstance(analysis, Analysis):
        return [("analysis: C blocks and SDPM", analysis.blocks, (image,))]
    eighth = wavelet.pack_to_eighth(image)
    return [
        ("analysis: gated blocks at 1/8", analysis.eighths, (eighth,)),
        ("analysis: gated blocks at 1/16", analysis.sixteenths, (y,)),
    ]


def _entropy_parameters(net: DMENet, y: torch.Tensor, quality: torch.Tensor) -> Part:
    """The networks of all passes; a pass over half of the positions runs at half, its context excepted."""
    size, flops = 0, 0
    for pass_, network in zip(net.config.passes, net.parameters_of_y.networks, strict=True):
        decoded = torch.zeros(1, 2 * pass_.context_channels, *y.shape[2:]) if pass_.context_channels else None
        pass_flops = _flops(network, y, decoded, quality)
        if pass_.parity is not None:
            context = _flops(network.context, decoded, quality) if network.context else 0
            pass_flops -= (pass_flops - context) // 2
        size, flops = size + _size(network), flops + pass_flops
    return Part("means and scales (equation 10)", size, flops)


def _total(name: str, parts: list[Part]) -> Part:
    return Part(name, sum(p.parameters for p in parts), sum(p.flops for p in parts), True)


def count(network: str = "dmenet") -> list[Part]:
    """The parts of a network by name, then the blocks of the paper (M = 256, one pass, no shortcut).

    Raises:
        OptionError: there is no network of this name.
    """
    everything, paper = _parts(get_config(network)), _parts(PAPER)
    paper = [part for part in paper if not part.name.startswith("gains")]
    return [
        *everything,
        _total("everything", everything),
        *(Part(f"paper's {part.name}", part.parameters, part.flops) for part in paper),
        _total("the paper's blocks", paper),
    ]
