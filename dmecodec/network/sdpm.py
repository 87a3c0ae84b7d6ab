"""SDPM, the slice dynamic pyramid module (section 2.3), at 1/4 resolution in both transforms.

The text of that section is missing from our copy of the paper; this is our own design under its constraints. The
channels are split in two halves (SS), one for each branch. The strange feature extraction block (SEB) follows
irregular shapes: each pixel mixes a row, a column and a square kernel by its own weights. The pyramid block (PEB) has
three scales, each computed from the one before. A 1x1 convolution joins the branches, and its output is added to the
input. The receptive field is bounded (`REACH`), so the module gives the same values in blocks as on a whole image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .depthwise import DepthwiseConv

REACH = 6
"""Radius of the receptive field, in pixels at 1/4 of the resolution."""


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
        # A convolution with ones copies the weight of a group to its channels. On a CPU it is faster than a copy,
        # and its output is channels last, as the operands of the mix must be to be fast.
        row, column, square = (F.conv2d(weights, ones) for ones in self.spread.chunk(3))
        mixed = torch.addcmul(row * self.row(x), column, self.column(x))
        return torch.addcmul(mixed, square, self.square(x))


class PEB(nn.Module):
    """A pyramid of scales: the sum of a 3x3 convolution, a 5x5 on its output, and a 7x7 on that."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(DepthwiseConv(channels, k, k) for k in (3, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to (b, c, h, w)."""
        outputs = []
        for scale in self.scales:
            x = F.leaky_relu(scale(x), 0.1, inplace=True)
            outputs.append(x)
        return outputs[0] + outputs[1] + outputs[2]


class SDPM(nn.Module):
    """SEB and PEB on half of the channels each, joined by a 1x1 convolution; the residual starts at a tenth."""

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
        # Copied, as operations on a view of half of the channels are slow.
        shapes, scales = self.seb(first.clone()), self.peb(second.clone())
        both = torch.cat([shapes, scales], 1)
        return x + self.join(F.leaky_relu(both, 0.1, inplace=True))
