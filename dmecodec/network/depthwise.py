"""Depthwise convolution with a gradient that the CPU computes fast.

What torch computes as the gradient of a depthwise kernel takes 20 to 60 times as long as the convolution itself on a
CPU. For small kernels it is a few products of shifted images. For larger ones it is a depthwise convolution too: of
the padded input, with the gradient of the output as its kernel, as large as the image, for every image and channel by
itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEW_TAPS = 9


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias = bias is not None
        return F.conv2d(x, weight, bias, padding=_same(weight), groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (g,) = gradients
        x, weight = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        turned = weight.flip(2, 3)
        into = F.conv2d(g, turned, padding=_same(weight), groups=x.shape[1])
        bias = g.sum((0, 2, 3)) if ctx.bias else None
        kernel = _kernel_gradient(x, g, weight) if ctx.needs_input_grad[1] else None
        return into, kernel, bias


def _same(weight: Tensor) -> tuple[int, int]:
    return weight.shape[2] // 2, weight.shape[3] // 2


def _kernel_gradient(x: Tensor, g: Tensor, weight: Tensor) -> Tensor:
    rows, columns = _same(weight)
    images, channels, height, width = x.shape
    padded = F.pad(x, (columns, columns, rows, rows))
    taps = [(i, j) for i in range(weight.shape[2]) for j in range(weight.shape[3])]
    if len(taps) <= _FEW_TAPS:
        shifted, last = padded.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1)
        ones = g.new_ones(1, images * height * width)  # sums in float32, faster than sum() does
        sums = [ones @ (shifted[:, i : i + height, j : j + width] * last).reshape(-1, channels) for i, j in taps]
        return torch.cat(sums).T.reshape(weight.shape)
    # Every image and channel becomes a channel of one image; channels last, which is the fast layout.
    field = padded.permute(2, 3, 0, 1).flatten(2).permute(2, 0, 1)[None]
    kernel = g.permute(2, 3, 0, 1).flatten(2).permute(2, 0, 1)[:, None]
    each = F.conv2d(field, kernel, groups=images * channels)
    each = each.view(images, channels, 1, *weight.shape[2:])
    return each.sum(0)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolves each channel with its own kernel, zeros outside.

    Args:
        x: (b, c, h, w).
        weight: (c, 1, rows, columns), both odd.
        bias: (c,) or None.
    """
    if not torch.is_grad_enabled() or x.device.type != "cpu":
        return F.conv2d(x, weight, bias, padding=_same(weight), groups=x.shape[1])
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    return _Depthwise.apply(x, weight, bias)


class DepthwiseConv(nn.Conv2d):
    """A convolution of each channel by itself, of the same size: (b, c, h, w) to (b, c, h, w).

    Args:
        channels: c.
        height, width: of the kernel, odd.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__(
            channels,
            channels,
            (height, width),
            padding=(height // 2, width // 2),
            groups=channels,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Applies it."""
        return depthwise(x, self.weight, self.bias)
