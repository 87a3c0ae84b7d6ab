"""The refinement: a small network after the synthesis that removes ringing and quantisation noise.

The linear path has the artefacts of every wavelet codec at low rates: ringing along edges, and texture quantised to
zero. The refinement is a few 3x3 convolutions on the reconstruction at half resolution, with a bias for each quality.
It learns in minutes what the path of the paper would need days for. If `Config.informed`, it also sees the features
of that path at half resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .knots import interpolate_knots
from .lambdas import LAMBDAS

_FOLD = 2


class Refinement(nn.Module):
    """Adds a correction to an image (b, 3, h, w), nominally in 0..1.

    Args:
        channels: width of the network.
        depth: convolutions between the first and the last.
        features: channels of the synthesis at half resolution.
    """

    def __init__(self, channels: int, depth: int, features: int) -> None:
        super().__init__()
        pixels = 3 * _FOLD * _FOLD
        self.first = nn.Conv2d(pixels, channels, 3, padding=1)
        self.quality = nn.Parameter(torch.zeros(len(LAMBDAS), channels))
        self.features = nn.Conv2d(features, channels, 1)
        self.middle = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(channels, pixels, 3, padding=1)
        with torch.no_grad():  # starts near the identity
            self.last.weight.mul_(0.01)
            self.last.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, features: Tensor, quality: Tensor) -> Tensor:
        """Refines an image; the sum is float32 even if the convolutions run in bf16.

        Args:
            x: (b, 3, h, w).
            features: (b, c, h / 2, w / 2).
            quality: (b,) in 0..7.
        """
        h = self.first(F.pixel_unshuffle(x - 0.5, _FOLD))
        h += self.features(features)
        h += interpolate_knots(self.quality, quality)[:, :, None, None].to(h.dtype)
        h = F.leaky_relu(h, 0.1, inplace=True)
        for layer in self.middle:
            residual = F.leaky_relu(layer(h), 0.1, inplace=True)
            h = h + residual if torch.is_grad_enabled() else residual.add_(h)
        return x + F.pixel_shuffle(self.last(h).float(), _FOLD)
