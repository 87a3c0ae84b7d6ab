"""SDPM, the slice dynamic pyramid module (section 2.3), at 1/4 resolution in both transforms.

The text of that section is missing from the copy at hand; this is our own design under its constraints. The channels
are sliced (SS) so that each branch sees half of them. The strange feature extraction block (SEB) follows irregular
shapes: every pixel mixes strips and a square by weights of its own. The pyramid block (PEB) sees three scales, each
built on the one before. A 1x1 convolution joins the branches, and the module adds to its input. The receptive field is
bounded (`REACH`), so it runs on tiles as on whole images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depthwise import DepthwiseConv

REACH = 6
"""Pixels around one, at 1/4, that the module sees."""


class SEB(nn.Module):
    """Dynamic shapes: a softmax per pixel and group of channels over a row, a column and a square."""

    GROUP = 16
    spread: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = max(1, channels // self.GROUP)
        self.row = DepthwiseConv(channels, 1, 9)
        self.column = DepthwiseConv(channels, 9, 1)
        self.square = DepthwiseConv(channels, 3, 3)
        self.choice = nn.Conv2d(channels, 3 * self.groups, 1)
        spread = torch.eye(3 * self.groups).repeat_interleave(channels // self.groups, 0)
        self.register_buffer("spread", spread[..., None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to (b, c, h, w)."""
        weights = self.choice(x).unflatten(1, (3, self.groups)).softmax(1).flatten(1, 2)
        weights = weights.to(x.dtype).contiguous(memory_format=torch.channels_last)
        # A group's weight goes to all of its channels by a convolution with ones: on a CPU that is far faster
        # than copies, and gives the layout of what is weighed, without which mixing is slow.
        row, column, square = (F.conv2d(weights, one) for one in self.spread.chunk(3))
        mixed = torch.addcmul(row * self.row(x), column, self.column(x))
        return torch.addcmul(mixed, square, self.square(x))


class PEB(nn.Module):
    """A pyramid of scales: 3x3, then 5x5 and 7x7 on what the smaller ones found; their sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(DepthwiseConv(channels, k, k) for k in (3, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to (b, c, h, w)."""
        found = []
        for scale in self.scales:
            x = F.leaky_relu(scale(x), 0.1, inplace=True)
            found.append(x)
        return found[0] + found[1] + found[2]


class SDPM(nn.Module):
    """Slice, extract shapes and scales, join; the residual starts small so that it cannot harm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seb = SEB(channels // 2)
        self.peb = PEB(channels - channels // 2)
        self.join = nn.Conv2d(channels, channels, 1)
        with torch.no_grad():
            self.join.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to (b, c, h, w)."""
        half = self.seb.row.in_channels
        first, second = x.split([half, x.shape[1] - half], 1)
        # Copies are dense, in the layout of x: a view of half the channels is slow in every operation.
        shapes, scales = self.seb(first.clone()), self.peb(second.clone())
        both = torch.cat([shapes, scales], 1)
        return x + self.join(F.leaky_relu(both, 0.1, inplace=True))
