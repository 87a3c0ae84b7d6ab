"""The learned codecs that the paper compares with, to be trained here.

Three come from CompressAI, with N = M = 192: that width gives the 5.56 M parameters that Table 3 has for the factorized
model. Two are built from what their papers say, as their code is not at hand.

`tong2023` is QVRF (arXiv 2303.05744): one network for all rates. A regulator a, one number for each lambda, scales the
latents before rounding, and their error with it: y-hat = round(a y) / a. The paper counts 27.55 M parameters, those of
CompressAI's cheng2020-attn with N = 192, which is therefore the network. Deviation: a multiplies the latents alone, the
hyper latents stay as they are.

`shi2024` combines residual convolutions with multi-head attention over the whole image and a fusion of spatial and
spectral attention. Its text is not at hand, DMENet's paper gives its name and 36.87 M parameters. So this is a network
of that kind and size: residual blocks around each change of resolution, at 1/8 spatial attention (a depthwise 7x7
convolution) fused with spectral attention (of channels), at 1/16 attention with eight heads over all positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from compressai.layers import ResidualBlock, ResidualBlockUpsample, ResidualBlockWithStride, subpel_conv3x3
from compressai.models import (
    Cheng2020Attention,
    FactorizedPriorReLU,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from torch import Tensor, nn

LAMBDAS = (0.007, 0.033, 0.211, 0.660)
"""Four of the paper's seven, on the scale 0..255."""


class Tong2023(Cheng2020Attention):
    """cheng2020-attn with a quantisation regulator for each lambda."""

    def __init__(self) -> None:
        super().__init__(N=192)
        start = (torch.tensor(LAMBDAS) / LAMBDAS[-1]).log() / 2
        self.log_regulator = nn.Parameter(start)

    def forward(self, x: Tensor, index: int = -1) -> dict[str, Tensor | dict[str, Tensor]]:
        """`index` is that of the lambda."""
        a = self.log_regulator[index].exp()
        y = self.g_a(x)
        z_hat, z_likelihoods = self.entropy_bottleneck(self.h_a(y))
        parameters = self.h_s(z_hat)
        noisy = self.gaussian_conditional.quantize(a * y, "noise" if self.training else "dequantize") / a
        scales, means = self.entropy_parameters(torch.cat((parameters, self.context_prediction(noisy)), dim=1)).chunk(
            2, 1
        )
        _, y_likelihoods = self.gaussian_conditional(a * y, a * scales, means=a * means)
        y_hat = (a * y + ((a * y).round() - a * y).detach()) / a
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": y_likelihoods, "z": z_likelihoods}}


class _Fusion(nn.Module):
    """x times a spatial and a spectral attention, joined by a 1x1 convolution, and added to x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )
        self.spectral = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 4, 1), nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1), nn.Sigmoid(),
        )  # fmt: skip
        self.join = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to the same shape."""
        return x + self.join(torch.cat([x * self.spatial(x), x * self.spectral(x)], 1))


class _GlobalAttention(nn.Module):
    """x plus attention with several heads over all positions."""

    def __init__(self, channels: int, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, channels)
        self.queries = nn.Conv2d(channels, 3 * channels, 1)
        self.join = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) to the same shape."""
        b, c, h, w = x.shape
        q, k, v = self.queries(self.norm(x)).view(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.join(attended.transpose(2, 3).reshape(b, c, h, w))


class Shi2024(JointAutoregressiveHierarchicalPriors):
    """Residual transforms with spatial-spectral fusion and global attention, and mbt2018's entropy model."""

    def __init__(self, n: int = 232) -> None:
        super().__init__(n, n)
        self.g_a = nn.Sequential(
            ResidualBlockWithStride(3, n, stride=2), ResidualBlock(n, n),
            ResidualBlockWithStride(n, n, stride=2), ResidualBlock(n, n),
            ResidualBlockWithStride(n, n, stride=2), _Fusion(n), ResidualBlock(n, n),
            nn.Conv2d(n, n, 3, stride=2, padding=1), _GlobalAttention(n),
        )  # fmt: skip
        self.g_s = nn.Sequential(
            _GlobalAttention(n), ResidualBlock(n, n), ResidualBlockUpsample(n, n, 2), _Fusion(n), ResidualBlock(n, n),
            ResidualBlockUpsample(n, n, 2), ResidualBlock(n, n), ResidualBlockUpsample(n, n, 2),
            ResidualBlock(n, n), subpel_conv3x3(n, 3, 2),
        )  # fmt: skip


ANCHORS: dict[str, Callable[[], nn.Module]] = {
    "factorized-relu": lambda: FactorizedPriorReLU(192, 192),
    "hyperprior": lambda: ScaleHyperprior(192, 192),
    "mbt2018-mean": lambda: MeanScaleHyperprior(192, 192),
    "mbt2018": lambda: JointAutoregressiveHierarchicalPriors(192, 192),
    "tong2023": Tong2023,
    "shi2024": Shi2024,
}


def parameters(model: nn.Module) -> int:
    """Number of weights that a decoder or encoder needs, those of GDN as CompressAI stores them."""
    return sum(value.numel() for value in model.parameters())


def is_variable(name: str) -> bool:
    """Whether one network serves every lambda."""
    return name == "tong2023"


__all__ = ["ANCHORS", "LAMBDAS", "is_variable", "parameters"]
