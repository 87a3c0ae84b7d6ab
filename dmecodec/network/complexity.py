"""Parameters and floating-point operations, part by part, as the paper counts them (Table 3).

What runs as a convolution counts as one, SDPM's handing of weights to channels included (0.02 GFLOPs a transform).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .config import HYPER_STRIDE, PAPER, STRIDE, Config, named
from .dmenet import DMENet

SIDE = 256
"""The paper counts one image of 3 x 256 x 256."""


@dataclass(frozen=True)
class Part:
    """One part of a network.

    Attributes:
        name: of the part.
        parameters: how many numbers it holds.
        flops: operations on one 3 x 256 x 256 image, two for each multiply-add.
        total: whether it sums up the parts before it.
    """

    name: str
    parameters: int
    flops: int
    total: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def _size(module: nn.Module) -> int:
    return sum(v.numel() for v in module.state_dict().values())


def _flops(module: nn.Module, *inputs: Any) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops()


def _parts(config: Config) -> list[Part]:
    """Parts of one network; the entropy bottleneck, some 15 thousand numbers, is a table here."""
    net = DMENet(config).eval()
    side, m, quality = SIDE // STRIDE, config.latents, torch.zeros(1)
    image, y = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, m, side, side)
    z = torch.zeros(1, config.hyper, side // HYPER_STRIDE, side // HYPER_STRIDE)
    decoder = net.parameters_of_y.decoder

    class Coder(nn.Module):
        """The decoder's layers before LSM."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Table 2."""
            for layer in decoder.layers:
                x = layer(x, quality)
            return x

    rows = [
        ("analysis: C blocks and SDPM", net.analysis.blocks, (image,)),
        ("synthesis: R blocks and SDPM", net.synthesis.blocks, (y, quality)),
        ("hyper encoder", net.hyper_encoder, (y,)),
    ]
    parts = [Part(name, _size(module), _flops(module, *inputs)) for name, module, inputs in rows]
    parts.append(Part("hyper decoder", _size(decoder.layers), _flops(Coder(), z)))
    parts.append(Part("LSM", _size(decoder.lsm), _flops(decoder.lsm, y, quality)))
    size, flops = 0, 0
    for one, network in zip(config.passes, net.parameters_of_y.networks, strict=True):
        shown = torch.zeros(1, 2 * one.before, side, side) if one.before else None
        everywhere = _flops(network, y, shown, quality)
        if one.parity is not None:  # past the context, half of the positions
            context = _flops(network.context, shown, quality) if network.context else 0
            everywhere -= (everywhere - context) // 2
        size, flops = size + _size(network), flops + everywhere
    parts.append(Part("means and scales (equation 10)", size, flops))
    if not config.paper:
        assert net.analysis.shortcut is not None and net.synthesis.shortcut is not None
        packed = torch.zeros(1, net.analysis.shortcut.in_channels, side, side)
        both = (net.analysis.shortcut, packed), (net.synthesis.shortcut, y)
        parts.append(Part("linear shortcuts", sum(_size(m) for m, _ in both), sum(_flops(*b) for b in both)))
    if net.synthesis.refinement is not None:
        refinement = net.synthesis.refinement
        seen = torch.zeros(1, config.channels // 4, SIDE // 2, SIDE // 2)
        flops = _flops(refinement, image, seen, quality)
        parts.append(Part("refinement", _size(refinement), flops))
    gains = net.log_gain.numel() + net.log_inverse_gain.numel()
    parts.append(Part("gains of the qualities", gains, 0))
    return parts


def _total(name: str, parts: list[Part]) -> Part:
    return Part(name, sum(p.parameters for p in parts), sum(p.flops for p in parts), True)


def count(network: str = "dmenet") -> list[Part]:
    """Everything that a network of ours runs, then the paper's own blocks (M = 256, one pass, no shortcut)."""
    everything, paper = _parts(named(network)), _parts(PAPER)
    paper = [part for part in paper if not part.name.startswith("gains")]
    return [
        *everything,
        _total("everything", everything),
        *(Part(f"paper's {part.name}", part.parameters, part.flops) for part in paper),
        _total("the paper's blocks", paper),
    ]
