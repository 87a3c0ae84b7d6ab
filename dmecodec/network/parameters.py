"""Means and scales of y-hat: one parameter network for each pass of the entropy model.

Pass by pass, each network sees the hyper features and, through a depthwise 5x5 and a 1x1 convolution, the slices
decoded before it. A checkered slice takes two passes: first the even positions, as on a chess board, then the odd ones,
which see their even neighbours as one more slice before them. What is not decoded yet, and what is outside the tile, is
zero. One slice without hidden layers is the paper's own 1x1 convolution (equation 10).
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
"""Means and y-hat are integer counts of 1/16 of a step."""
INDEX_COUNT = 64
"""Scale indices: index i stands for a standard deviation of exp(LOG_SCALE_LOW + i / INDEX_PER_NAT)."""
LOG_SCALE_LOW, INDEX_PER_NAT = -3.0, 7
INDEX_UNIT = 16
"""The network's log-scale, as an integer, counts 1/16 of an index."""
VALUE_TOP = 8 * MEAN_UNIT
"""Later passes see y-hat clamped to +-8 ..."""
LOG_ENTRIES = 4096
"""... and as 32 log(1 + |y|), up to |y| = 256."""
_LOG_UNIT = 32


Quantise = Callable[[Tensor, Tensor, Tensor, Pass], tuple[Tensor, Tensor]]
"""y, mean and log-scale of a pass to y-hat and likelihoods, all (b, c, h, w)."""


def _log_table() -> Tensor:
    values = [round(_LOG_UNIT * math.log1p(i / MEAN_UNIT)) for i in range(LOG_ENTRIES)]
    return torch.tensor(values, dtype=torch.float32)


def checkerboard(height: int, width: int, parity: int) -> Tensor:
    """The positions of a pass: bool (height, width)."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == parity


class PassParameters(nn.Module):
    """Mean and log-scale of one pass.

    Args:
        features: channels of the hyper features.
        before: channels of y that it sees.
        channels: channels that it codes.
        hidden: width; 0 for a single convolution.
    """

    def __init__(self, features: int, before: int, channels: int, hidden: int) -> None:
        super().__init__()
        knots, inputs = len(LAMBDAS), features + 2 * before
        self.context = (
            ExactConv(2 * before, 2 * before, (5, 5), groups=2 * before, activation="signed") if before else None
        )
        self.hidden = ExactLayers([ExactConv(inputs, hidden, knots=knots), ExactConv(hidden, hidden)] if hidden else [])
        self.out = ExactConv(hidden or inputs, 2 * channels, activation="none", knots=knots)

    def forward(self, features: Tensor, before: Tensor | None, quality: Tensor) -> Tensor:
        """Float graph: hyper features and shown latents (b, 2 before, h, w) to (b, 2 c, h, w)."""
        x = features
        if self.context is not None:
            assert before is not None
            x = torch.cat([x, self.context(before, quality)], 1)
        for layer in self.hidden:
            x = layer(x, quality)
        return self.out(x, quality)

    def exact(self, features: Tensor, before: Tensor | None, where: Tensor | None, quality: int) -> Tensor:
        """Frozen graph, at n positions of one tile.

        Args:
            features: integers (n, M), those positions of the hyper features.
            before: integers (1, 2 before, h, w); None where the pass sees none.
            where: which positions, int64 (n,); None is all of them.
            quality: in 1/32 steps.

        Returns:
            Integers (n, 2 c): means in 1/16 step, then log-scales in 1/16 of a scale index.
        """
        parts = [features]
        if self.context is not None:
            assert before is not None
            parts.append(self.context.at(before, where, quality))
        for layer in self.hidden:
            parts = [layer.rows(parts, quality)]
        return self.out.rows(parts, quality)

    def freeze(self, signal: Signal, scales: dict[nn.Module, Tensor]) -> None:
        """See :meth:`ExactConv.freeze`."""
        if self.context is not None:
            half = torch.ones(self.context.weight.shape[0] // 2, dtype=torch.float64)
            shown = Signal(4.0 * MEAN_UNIT * half, VALUE_TOP * half) + Signal(
                _LOG_UNIT * half, float(_log_table()[-1]) * half
            )
            signal = signal + self.context.freeze(shown, scales[self.context])
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
    """From z-hat and what is decoded so far to mean and scale of the next pass."""

    log_table: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.passes = config.passes
        self.decoder = HyperDecoder(config)
        self.networks = PassNetworks(
            PassParameters(config.latents, p.before, p.channels, config.hidden[p.slice]) for p in self.passes
        )
        self.register_buffer("log_table", _log_table(), persistent=False)

    def predict(self, index: int, features: Tensor, before: Tensor | None, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Float graph.

        Args:
            index: which pass.
            features: (b, M, h, w) from the hyper decoder.
            before: (b, c, h, w), the channels that the pass sees, in steps; None where it sees none.
            quality: (b,) in 0..7.

        Returns:
            Mean and log-scale (b, c, h, w) of the pass at all positions, in steps and nats.
        """
        shown = None if before is None else magnitudes(before)
        mean, log_scale = self.networks[index](features, shown, quality).float().chunk(2, 1)
        return mean, log_scale

    def in_passes(self, y: Tensor, features: Tensor, quality: Tensor, quantise: Quantise) -> tuple[Tensor, Tensor]:
        """Float graph: pass by pass, each seeing what `quantise` made of those before it.

        Args:
            y: (b, M, h, w), in steps.
            features: (b, M, h, w) from the hyper decoder.
            quality: (b,) in 0..7.
            quantise: what becomes of the latents of one pass.

        Returns:
            y-hat and its likelihoods, (b, M, h, w).
        """
        decoded: list[Tensor] = []  # of the slices that are done
        likelihoods: list[Tensor] = []
        height, width = y.shape[2:]
        for i, one in enumerate(self.passes):
            before = torch.cat(decoded, 1) if decoded else None
            mean, log_scale = self.predict(i, features, before, quality)
            y_hat, likelihood = quantise(y[:, one.first : one.end], mean, log_scale, one)
            if one.parity is not None:
                board = checkerboard(height, width, one.parity).to(y.device)
                y_hat, likelihood = y_hat * board, torch.where(board, likelihood, 1.0)
            if one.parity == 1:  # the other half joins the first
                y_hat, likelihood = y_hat + decoded.pop(), likelihood * likelihoods.pop()
            decoded.append(y_hat)
            likelihoods.append(likelihood)
        return torch.cat(decoded, 1), torch.cat(likelihoods, 1)

    def freeze(self, scales: dict[nn.Module, Tensor]) -> None:
        """Turns every layer into integers; `scales` has integers per unit for each output channel."""
        signal = self.decoder.freeze(scales)
        for network in self.networks:
            network.freeze(signal, scales)
