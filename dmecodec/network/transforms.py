"""The analysis and synthesis transforms: the blocks of Table 1 with SDPM, in parallel with a linear shortcut.

    y = g_a(x) + A pack(x)          x-hat = refine(g_s(y-hat) + unpack(B y-hat))

A and B, the matrices of the shortcut, start as the principal components of packed wavelet coefficients. So the codec
works before any training, and the path of the paper (g_a, g_s) learns what a linear transform cannot do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base.device import full_precision
from . import wavelet
from .config import Config
from .gdn import GDNFactory, PlainGDN
from .knots import interpolate_knots
from .lambdas import LAMBDAS
from .refinement import Refinement
from .sdpm import SDPM

# The path of the paper starts as a small correction to the shortcut. Its latents are scaled down, as the inverse GDN
# diverges on raw coefficients.
_ANALYSIS_SCALE, _SYNTHESIS_SCALE, _SYNTHESIS_INPUT = 0.05, 0.02, 0.2

HALO = 4
"""Width of the halo in latents: neither transform sees further beyond a block (tests/test_network.py). The gated
analysis has a halo of its own."""


def _down(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


class _Up(nn.ConvTranspose2d):
    """Doubles both sides. If conditional, inputs have a gain and outputs a bias for each quality."""

    def __init__(self, inputs: int, outputs: int, conditional: bool) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.conditional = conditional
        if conditional:
            self.log_gain = nn.Parameter(torch.zeros(len(LAMBDAS), inputs))
            self.offset = nn.Parameter(torch.zeros(len(LAMBDAS), outputs))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:  # type: ignore[override]
        """(b, inputs, h, w) to (b, outputs, 2 h, 2 w); quality is (b,) in 0..7, or (1,) for the whole batch."""
        weight, bias = self.weight, self.bias
        assert bias is not None
        if not self.conditional:
            return F.conv_transpose2d(x, weight, bias, 2, 1, 1)
        gain = interpolate_knots(self.log_gain, quality).exp()
        offset = bias + interpolate_knots(self.offset, quality)
        if len(quality) == 1:  # outside training: the gain goes into the weight, which saves a pass over x
            weight = weight * gain[0][:, None, None, None]
            return F.conv_transpose2d(x, weight, offset[0], 2, 1, 1)
        x = x * gain[:, :, None, None].to(x.dtype)
        # The bias is added separately: on a CPU its gradient in conv_transpose2d takes as long as all others.
        y = F.conv_transpose2d(x, weight, None, 2, 1, 1)
        return y + offset[:, :, None, None].to(y.dtype)


class _RBlock(nn.Sequential):
    """R block of Table 1: transposed convolution, then inverse GDN."""

    def __init__(self, inputs: int, outputs: int, conditional: bool, gdn: GDNFactory) -> None:
        super().__init__(_Up(inputs, outputs, conditional), gdn(outputs, inverse=True))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:  # type: ignore[override]
        """See :class:`_Up`."""
        up, gdn = self
        return gdn(up(x, quality))


class RBlocks(nn.Sequential):
    """g_s, the path of the paper: latents (b, M, h, w) to (b, 3, 16 h, 16 w)."""

    def __init__(self, config: Config, gdn: GDNFactory) -> None:
        n, m, conditional = config.channels, config.latents, not config.paper
        super().__init__(
            _RBlock(m, 3 * n // 4, conditional, gdn),  # R block 4
            _RBlock(3 * n // 4, n // 2, conditional, gdn),  # R block 3
            SDPM(n // 2),
            _RBlock(n // 2, n // 4, conditional, gdn),  # R block 2
            _RBlock(n // 4, 3, conditional, gdn),  # R block 1
        )

    def forward(self, y: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The output, and the input of the last block (b, N / 4, 8 h, 8 w)."""
        four, three, sdpm, two, one = self
        features = two(sdpm(three(four(y, quality), quality)), quality)
        return one(features, quality), features


def _scale(channels: int, start: float) -> nn.Parameter:
    return nn.Parameter(torch.full((channels, 1, 1), start))


class Analysis(nn.Module):
    """Image (b, 3, 16 h, 16 w) in 0..1 to latents (b, M, h, w), before any gain."""

    halo = HALO

    def __init__(self, config: Config, gdn: GDNFactory = PlainGDN) -> None:
        super().__init__()
        n, m = config.channels, config.latents
        self.blocks = nn.Sequential(
            nn.Sequential(_down(3, n // 4, 7), gdn(n // 4)),  # C block 1
            nn.Sequential(_down(n // 4, n // 2, 3), gdn(n // 2)),  # C block 2
            SDPM(n // 2),
            nn.Sequential(_down(n // 2, 3 * n // 4, 3), gdn(3 * n // 4)),  # C block 3
            nn.Sequential(_down(3 * n // 4, m, 3), gdn(m)),  # C block 4, to M instead of N
        )
        self.scale = _scale(m, 1.0 if config.paper else _ANALYSIS_SCALE)
        self.shortcut = None if config.paper else nn.Conv2d(wavelet.PACKED, m, 1)
        self.enabled = True  # False in stage 1 of the training: the shortcut alone

    def forward(self, x: Tensor) -> Tensor:
        """Applies the transform; shortcut and sum are float32 even if the path of the paper runs in bf16.

        `codec/analysis.py` repeats these steps in strips on a CPU.
        """
        y = self.blocks(x).float() * self.scale if self.enabled else None
        if self.shortcut is not None:
            with full_precision(x.device):
                linear = self.shortcut(wavelet.pack(x.float()))
            y = linear if y is None else linear + y
        assert y is not None
        return y

    @torch.no_grad()
    def silence(self) -> None:
        """Leaves the linear path alone, as before stage 2 of the training."""
        self.scale.zero_()


class Synthesis(nn.Module):
    """Latents (b, M, h, w) times the inverse gain to an image (b, 3, 16 h, 16 w), nominally in 0..1."""

    def __init__(self, config: Config, gdn: GDNFactory = PlainGDN) -> None:
        super().__init__()
        self.blocks = RBlocks(config, gdn)
        self.scale = _scale(3, 1.0 if config.paper else _SYNTHESIS_SCALE)
        self.shortcut = None if config.paper else nn.Conv2d(config.latents, wavelet.PACKED, 1)
        self.refinement: Refinement | None = None
        if not config.paper:
            self.refinement = Refinement(config.refinement, config.refining, config.channels // 4)
        self.enabled = True

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Applies the transform; shortcut and sums are float32 even if the path of the paper runs in bf16.

        Args:
            y: latents times the inverse gain.
            quality: (b,) in 0..7, or (1,) for the whole batch.
        """
        x, features = None, None
        if self.enabled:
            pixels, features = self.blocks(y * _SYNTHESIS_INPUT, quality)
            x = pixels.float() * self.scale
        if self.shortcut is not None:
            with full_precision(y.device):
                linear = wavelet.unpack(self.shortcut(y.float()))
            x = linear if x is None else linear + x
        assert x is not None
        if self.refinement is not None and self.enabled:
            x = self.refinement(x, features, quality)
        return x

    @torch.no_grad()
    def silence(self) -> None:
        """Leaves the linear path alone, as before stage 2 of the training."""
        self.scale.zero_()
        if self.refinement is not None:
            self.refinement.last.weight.zero_()
