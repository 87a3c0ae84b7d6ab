"""The gated analysis: a residual stream that begins as packed subbands of the 9/7 wavelet.

The stream has 192 channels at 1/8 of the resolution, three levels of the wavelet, and M at 1/16, after the fourth level
and a linear map. Gated blocks change it at full amplitude. At the start of a training they change little, so the
latents are those of the linear map. Each channel has unit variance while blocks see it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..base.device import full_precision
from . import wavelet
from .config import STRIDE, Config
from .depthwise import DepthwiseConv

_START = 0.1
"""Scale of the last layer of a block at the start of a training."""


class GatedBlock(nn.Module):
    """x + join(depthwise(expand(x)) * sigmoid(choose(x))).

    Args:
        channels: of x.
        width: of the products.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, width, 1)
        self.choose = nn.Conv2d(channels, width, 1)
        self.depth = DepthwiseConv(width, 3, 3)
        self.join = nn.Conv2d(width, channels, 1)
        with torch.no_grad():
            self.depth.weight[:, :, 1, 1] += 1
            self.join.weight *= _START
            self.join.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) float32 to the same."""
        return x + self.join(self.depth(self.expand(x)) * self.choose(x).sigmoid())


class GatedAnalysis(nn.Module):
    """Image (b, 3, 16 h, 16 w) in 0..1 to latents (b, M, h, w) float32, before any gain.

    Attributes:
        eighths, sixteenths: the blocks at 1/8 and at 1/16.
        shortcut: the linear map from packed coefficients to latents, in float32.
        eighth_scale, sixteenth_scale: one by the standard deviation of each channel.
        enabled: False in stage 1 of the training, which leaves the linear map alone.
        halo: width of the halo in latents.
    """

    eighth_scale: Tensor
    sixteenth_scale: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        m = config.latents
        count, width = config.eighths
        self.eighths = nn.Sequential(*(GatedBlock(wavelet.EIGHTH, width) for _ in range(count)))
        count, width = config.sixteenths
        self.sixteenths = nn.Sequential(*(GatedBlock(m, width) for _ in range(count)))
        self.shortcut = nn.Conv2d(wavelet.PACKED, m, 1)
        self.register_buffer("eighth_scale", torch.ones(wavelet.EIGHTH, 1, 1))
        self.register_buffer("sixteenth_scale", torch.ones(m, 1, 1))
        self.enabled = True
        # In pixels: four on each side for a level of the wavelet, one for a block, each at its own resolution.
        reach = 4 * (1 + 2 + 4) + 8 * len(self.eighths) + 4 * 8 + 16 * len(self.sixteenths)
        self.halo = -(-reach // STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the transform.

        `codec/analysis.py` repeats these steps in strips on a CPU.
        """
        x = wavelet.pack_to_eighth(x.float())
        if self.enabled:
            x = self.fine(x)
        with full_precision(x.device):
            y = self.shortcut(wavelet.pack_to_sixteenth(x))
        return self.coarse(y) if self.enabled else y

    def fine(self, x: Tensor) -> Tensor:
        """The blocks at 1/8: (b, 192, 2 h, 2 w) float32 to the same."""
        x = (x * self.eighth_scale).contiguous(memory_format=torch.channels_last)
        return self.eighths(x) / self.eighth_scale

    def coarse(self, y: Tensor) -> Tensor:
        """The blocks at 1/16: (b, M, h, w) float32 to the same."""
        y = (y * self.sixteenth_scale).contiguous(memory_format=torch.channels_last)
        return self.sixteenths(y) / self.sixteenth_scale

    @torch.no_grad()
    def silence(self) -> None:
        """Leaves the linear map alone, as before stage 2 of the training."""
        for block in (*self.eighths, *self.sixteenths):
            block.join.weight.zero_()
            block.join.bias.zero_()
