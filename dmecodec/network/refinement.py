"""What is added to the synthesis: a small network that takes ringing and quantisation noise out of the image.

The linear path leaves what every wavelet codec leaves at low rates: ringing along edges, and texture lost to zeros.
Four 3x3 convolutions at half resolution see the whole reconstruction, and a bias for each quality tells them how much
to expect. They learn in minutes what the paper's path, from the latents up, would need days for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import LAMBDAS
from .exact import interpolate_knots

_FOLD = 2


class Refinement(nn.Module):
    """An image (b, 3, h, w), about 0..1, to a better one.

    Args:
        channels: width of the network.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        pixels = 3 * _FOLD * _FOLD
        self.first = nn.Conv2d(pixels, channels, 3, padding=1)
        self.quality = nn.Parameter(torch.zeros(len(LAMBDAS), channels))
        self.middle = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(channels, pixels, 3, padding=1)
        with torch.no_grad():  # at first it changes next to nothing
            self.last.weight.mul_(0.01)
            self.last.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """The sum stays in float32, whatever the convolutions run in; quality is (b,) in 0..7."""
        h = self.first(F.pixel_unshuffle(x - 0.5, _FOLD))
        h = h + interpolate_knots(self.quality, quality)[:, :, None, None].to(h.dtype)
        h = F.leaky_relu(h, 0.1)
        for layer in self.middle:
            h = h + F.leaky_relu(layer(h), 0.1)
        return x + F.pixel_shuffle(self.last(h).float(), _FOLD)
