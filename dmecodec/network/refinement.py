"""What is added to the synthesis: a small network that takes ringing and quantisation noise out of the image.

The linear path leaves what every wavelet codec leaves at low rates: ringing along edges, and texture lost to zeros.
A few 3x3 convolutions at half resolution see the whole reconstruction, and a bias for each quality tells them how much
to expect. They learn in minutes what the paper's path, from the latents up, would need days for; what that path has
found at half resolution may help them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .knots import interpolate_knots
from .lambdas import LAMBDAS

_FOLD = 2


class Refinement(nn.Module):
    """An image (b, 3, h, w), about 0..1, to a better one.

    Args:
        channels: width of the network.
        depth: convolutions between the first and the last.
        features: channels that the synthesis has at half resolution.
    """

    def __init__(self, channels: int, depth: int, features: int) -> None:
        super().__init__()
        pixels = 3 * _FOLD * _FOLD
        self.first = nn.Conv2d(pixels, channels, 3, padding=1)
        self.quality = nn.Parameter(torch.zeros(len(LAMBDAS), channels))
        self.features = nn.Conv2d(features, channels, 1)
        self.middle = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(channels, pixels, 3, padding=1)
        with torch.no_grad():  # at first it changes next to nothing
            self.last.weight.mul_(0.01)
            self.last.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, features: Tensor, quality: Tensor) -> Tensor:
        """The sum stays in float32, whatever the convolutions run in.

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
            found = F.leaky_relu(layer(h), 0.1, inplace=True)
            h = h + found if torch.is_grad_enabled() else found.add_(h)
        return x + F.pixel_shuffle(self.last(h).float(), _FOLD)
