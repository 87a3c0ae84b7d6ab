"""Means and scales of y-hat: a parameter network for each pass of the entropy model.

Each network sees the hyper features and, through a depthwise 5x5 and a 1x1 convolution, the context: the slices decoded
before. A checkered slice takes two passes. The first codes the even positions of a checkerboard, the second the odd
ones with the even ones in its context. Latents that are not decoded yet, or outside the tile, are zero. A single slice
without hidden layers is the 1x1 convolution of equation 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from .config import Config, Pass
from .exact import ExactConv, ExactLayers, Signal
from .hyperprior import HyperDecoder, magnitudes
from .lambdas import LAMBDAS

MEAN_UNIT = 16
"""Means and y-hat are integers in units of 1/16 step."""
INDEX_COUNT = 64
"""Scale indices: index i stands for a standard deviation of exp(LOG_SCALE_LOW + i / INDEX_PER_NAT)."""
LOG_SCALE_LOW, INDEX_PER_NAT = -3.0, 7
INDEX_UNIT = 16
"""The integer log-scale of the network is in units of 1/16 index."""
VALUE_TOP = 8 * MEAN_UNIT
"""The context holds y-hat clamped to +-8 steps."""
LOG_ENTRIES = 4096
"""The context also holds 32 log(1 + |y-hat|), from a table up to |y-hat| = 256."""
_LOG_UNIT = 32

Quantise = Callable[[Tensor, Tensor, Tensor, Pass], tuple[Tensor, Tensor]]
"""Quantises a pass: from y, mean, log-scale and the pass to y-hat and likelihoods, all (b, c, h, w)."""


def _log_table() -> Tensor:
    values = [round(_LOG_UNIT * math.log1p(i / MEAN_UNIT)) for i in range(LOG_ENTRIES)]
    return torch.tensor(values, dtype=torch.float32)


def checkerboard(height: int, width: int, parity: int) -> Tensor:
    """The positions of a parity: bool (height, width)."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == parity


class PassParameters(nn.Module):
    """The network of one pass: mean and log-scale of its latents.

    Args:
        features: channels of the hyper features.
        context_channels: channels of y in its context.
        channels: channels that it codes.
        hidden: width of two hidden layers; 0 leaves them out.
    """

    def __init__(self, features: int, context_channels: int, channels: int, hidden: int) -> None:
        super().__init__()
        knots, seen = len(LAMBDAS), 2 * context_channels
        inputs = features + seen
        self.context = ExactConv(seen, seen, (5, 5), groups=seen, activation="signed") if seen else None
        self.hidden = ExactLayers([ExactConv(inputs, hidden, knots=knots), ExactConv(hidden, hidden)] if hidden else [])
        self.out = ExactConv(hidden or inputs, 2 * channels, activation="none", knots=knots)

    def forward(self, features: Tensor, decoded: Tensor | None, quality: Tensor) -> Tensor:
        """Float graph.

        Args:
            features: hyper features (b, M, h, w).
            decoded: :func:`magnitudes` of the context (b, 2 context_channels, h, w); None if it has no channels.
            quality: (b,) in 0..7.

        Returns:
            Mean, then log-scale: (b, 2 c, h, w).
        """
        x = features
        if self.context is not None:
            assert decoded is not None
            x = torch.cat([x, self.context(decoded, quality)], 1)
        for layer in self.hidden:
            x = layer(x, quality)
        return self.out(x, quality)

    def exact(self, features: Tensor, decoded: Tensor | None, positions: Tensor | None, quality: int) -> Tensor:
        """Frozen graph, at n positions of one tile.

        Args:
            features: integers (n, M), the hyper features at these positions.
            decoded: integers (1, 2 context_channels, h, w); None if the pass has no context.
            positions: int64 (n,), indices in row-major order; None is all positions.
            quality: in 1/32 steps.

        Returns:
            Integers (n, 2 c): means in 1/16 step, then log-scales in 1/16 of a scale index.
        """
        parts = [features]
        if self.context is not None:
            assert decoded is not None
            parts.append(self.context.at_positions(decoded, positions, quality))
        for layer in self.hidden:
            parts = [layer.on_rows(parts, quality)]
        return self.out.on_rows(parts, quality)

    def freeze(self, signal: Signal, scales: dict[nn.Module, Tensor]) -> None:
        """See :meth:`ExactConv.freeze`."""
        if self.context is not None:
            half = torch.ones(self.context.weight.shape[0] // 2, dtype=torch.float64)
            values_and_logs = Signal(4.0 * MEAN_UNIT * half, VALUE_TOP * half) + Signal(
                _LOG_UNIT * half, float(_log_table()[-1]) * half
            )
            signal = signal + self.context.freeze(values_and_logs, scales[self.context])
        for layer in self.hidden:
            signal = layer.freeze(signal, scales[layer])
        channels = self.out.weight.shape[0] // 2
        with torch.no_grad():
            self.out.bias[:, channels:] -= LOG_SCALE_LOW
        scale = torch.full((2 * channels,), float(MEAN_UNIT), dtype=torch.float64)
        scale[channels:] = INDEX_PER_NAT * INDEX_UNIT
        self.out.freeze(signal, scale)


class PassNetworks(nn.ModuleList):
    """The parameter networks, in coding order."""

    def __iter__(self) -> Iterator[PassParameters]:
        return cast(Iterator[PassParameters], super().__iter__())

    def __getitem__(self, index: int) -> PassParameters:  # type: ignore[override]
        return cast(PassParameters, super().__getitem__(index))


class EntropyParameters(nn.Module):
    """The entropy model of y: from z-hat and the passes decoded so far to mean and scale of the next pass."""

    log_table: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.passes = config.passes
        self.decoder = HyperDecoder(config)
        self.networks = PassNetworks(
            PassParameters(config.latents, p.context_channels, p.channels, config.hidden[p.slice]) for p in self.passes
        )
        self.register_buffer("log_table", _log_table(), persistent=False)

    def predict(self, index: int, features: Tensor, decoded: Tensor | None, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Float graph.

        Args:
            index: of the pass.
            features: (b, M, h, w) from the hyper decoder.
            decoded: the context of the pass (b, c, h, w), in steps; None if it has no channels.
            quality: (b,) in 0..7.

        Returns:
            Mean in steps and log-scale in nats at all positions, (b, c, h, w) each.
        """
        context = None if decoded is None else magnitudes(decoded)
        mean, log_scale = self.networks[index](features, context, quality).float().chunk(2, 1)
        return mean, log_scale

    def run_passes(self, y: Tensor, features: Tensor, quality: Tensor, quantise: Quantise) -> tuple[Tensor, Tensor]:
        """Float graph: all passes in coding order, each with the quantised latents of the earlier ones as context.

        Args:
            y: (b, M, h, w), in steps.
            features: (b, M, h, w) from the hyper decoder.
            quality: (b,) in 0..7.
            quantise: quantises the latents of one pass.

        Returns:
            y-hat and its likelihoods, (b, M, h, w).
        """
        slices: list[Tensor] = []  # y-hat of each slice
        likelihoods: list[Tensor] = []
        height, width = y.shape[2:]
        for i, pass_ in enumerate(self.passes):
            decoded = torch.cat(slices, 1) if slices else None
            mean, log_scale = self.predict(i, features, decoded, quality)
            y_hat, likelihood = quantise(y[:, pass_.first : pass_.end], mean, log_scale, pass_)
            if pass_.parity is not None:
                board = checkerboard(height, width, pass_.parity).to(y.device)
                y_hat, likelihood = y_hat * board, torch.where(board, likelihood, 1.0)
            if pass_.parity == 1:  # completes the slice of the pass before
                y_hat, likelihood = y_hat + slices.pop(), likelihood * likelihoods.pop()
            slices.append(y_hat)
            likelihoods.append(likelihood)
        return torch.cat(slices, 1), torch.cat(likelihoods, 1)

    def freeze(self, scales: dict[nn.Module, Tensor]) -> None:
        """Freezes each layer; `scales` holds its integers per unit of each output channel, float64 (outputs,)."""
        signal = self.decoder.freeze(scales)
        for network in self.networks:
            network.freeze(signal, scales)
