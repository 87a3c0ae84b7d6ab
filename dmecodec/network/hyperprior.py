"""The hyper encoder and the hyper decoder of Table 2, and LSM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import Config
from .exact import ExactConv, ExactLayers, Signal, gate

Z_CLAMP = 127
"""The hyper decoder clamps z-hat to this magnitude. The stream holds z-hat unclamped."""


def magnitudes(y: Tensor) -> Tensor:
    """y (b, c, h, w) to (b, 2 c, h, w): y / 4 clamped to +-2, then log(1 + |y|).

    The latents are symmetric in sign, so their scale follows from magnitudes.
    """
    y = y.float()
    return torch.cat([y.clamp(-8, 8) / 4, torch.log1p(y.abs())], 1)


class HyperEncoder(nn.Module):
    """y (b, M, h, w) to z (b, N, h / 4, w / 4). Only the encoder runs it, so it need not be exact."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        n, m = config.hyper, config.latents
        self.squeeze = None if config.paper else nn.Conv2d(2 * m, config.squeezed, 1, bias=False)
        self.layers = nn.Sequential(
            nn.Conv2d(m if config.paper else config.squeezed, n, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(n, n, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(n, n, 3, stride=2, padding=1),
        )

    def forward(self, y: Tensor) -> Tensor:
        """Latents times the gain, not yet rounded, to hyper latents.

        `codec/analysis.py` repeats these steps in strips on a CPU.
        """
        return self.layers(self.prepare(y))

    def prepare(self, y: Tensor) -> Tensor:
        """The input of the first layer of Table 2: (b, M, h, w) to (b, c, h, w)."""
        return y if self.squeeze is None else self.squeeze(magnitudes(y))


class LSM(nn.Module):
    """The latent representation space enhancement module (section 2.4), in a form that is exact in integers.

    Spatial attention by strip convolutions (LKE), x * (1 + gate); then channel attention, a bottleneck at each
    position. There is no pooling, as every part of the codec must have a bounded receptive field. The 1x1 convolution
    of equation 10 is part of the parameter network.
    """

    def __init__(self, channels: int, strip: int, attention: int) -> None:
        super().__init__()
        self.row = ExactConv(channels, channels, (1, strip), groups=channels, activation="signed")
        self.column = ExactConv(channels, channels, (strip, 1), groups=channels, activation="gate")
        self.squeeze = ExactConv(channels, attention)
        self.excite = ExactConv(attention, channels, activation="gate")

    def forward(self, x: Tensor, quality: Tensor | int) -> Tensor:
        """(b, c, h, w) to (b, c, h, w)."""
        spatial = self.column(self.row(x, quality), quality)
        x = gate(x, spatial, base=1, frozen=self.row.frozen)
        channel = self.excite(self.squeeze(x, quality), quality)
        return gate(x, channel, base=0, frozen=self.row.frozen)

    def freeze(self, signal: Signal, scales: dict[nn.Module, Tensor]) -> Signal:
        """See :meth:`ExactConv.freeze`."""
        self.column.freeze(self.row.freeze(signal, scales[self.row]))
        signal = Signal(signal.scale, 2 * signal.top)
        self.excite.freeze(self.squeeze.freeze(signal, scales[self.squeeze]))
        return signal


class HyperDecoder(nn.Module):
    """z-hat (b, N, h, w), integers, to hyper features (b, M, 4 h, 4 w); Table 2, then LSM."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        n, m = config.hyper, config.latents
        self.inputs = n
        self.layers = ExactLayers(
            [ExactConv(n, n, (3, 3), up=True), ExactConv(n, n, (3, 3), up=True), ExactConv(n, m, (3, 3))]
        )
        self.lsm = LSM(m, config.strip, config.attention)

    def forward(self, z: Tensor, quality: Tensor | int) -> Tensor:
        """Applies it to floats or, if frozen, to integers."""
        x = z.clamp(-Z_CLAMP, Z_CLAMP)
        for layer in self.layers:
            x = layer(x, quality)
        return self.lsm(x, quality)

    def freeze(self, scales: dict[nn.Module, Tensor]) -> Signal:
        """See :meth:`ExactConv.freeze`."""
        ones = torch.ones(self.inputs, dtype=torch.float64)
        signal = Signal(ones, Z_CLAMP * ones)
        for layer in self.layers:
            signal = layer.freeze(signal, scales[layer])
        return self.lsm.freeze(signal, scales)
