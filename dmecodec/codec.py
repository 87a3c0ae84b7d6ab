"""One tile: gained latents to its two streams, and back to exact integers.

In all that is exact a tile stands alone: the hyper coder and the passes see zeros outside it. So tiles decode in any
order, in parallel, or only those that a window needs. The transforms see across tiles; they are float and not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .device import autocast
from .entropy import VALUE_LIMIT, Decoder, Tables, encode
from .errors import ModelError
from .network.config import HYPER_STRIDE
from .network.parameters import MEAN_UNIT, checkerboard
from .rounding import round_for_rate, round_plainly, step_weights
from .weights import Model


@dataclass(frozen=True)
class TileLatents:
    """The exact content of a tile.

    Attributes:
        y: int32 (M, h, w), counts of 1/16 step.
        z: int32 (N, ceil(h / 4), ceil(w / 4)).
    """

    y: np.ndarray
    z: np.ndarray


def hyper_side(latents: int) -> int:
    """Hyper latents along a side of so many latents."""
    return -(-latents // HYPER_STRIDE)


def hyper_latents(model: Model, y: Tensor) -> Tensor:
    """Gained latents (1, M, h, w) of one tile to integer z-hat (1, N, ceil(h / 4), ceil(w / 4))."""
    height, width = y.shape[2:]
    padded = F.pad(y, (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE))
    with autocast(model.device):  # the encoder's alone: it need not be exact
        z = torch.round(model.net.hyper_encoder(padded).float())
    return z.clamp(1 - VALUE_LIMIT, VALUE_LIMIT - 1)


class _Passes:
    """Walks the passes of a tile: hands out means and scale indices, takes what was coded back."""

    def __init__(self, model: Model, z: Tensor, quality: int, height: int, width: int) -> None:
        self.parameters, self.quality = model.net.parameters_of_y, quality
        z = z.to(model.exact_device, model.exact_dtype)
        self.features = self.parameters.decoder(z, quality)[:, :, :height, :width]
        self.shown = torch.zeros_like(self.features)
        # In int32 as well, for float32 would round from 2^24 on.
        self.y = torch.zeros_like(self.features, dtype=torch.int32)
        self._boards = [checkerboard(height, width, parity).to(z.device) for parity in (0, 1)]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.parameters.passes)))

    def predict(self, index: int) -> tuple[Tensor, np.ndarray]:
        """Means in 1/16 step (1, c, n) at the positions of a pass, and flat scale indices (uint8)."""
        mean, scale_index = self.parameters.predict_exact(
            index, self.features, self.shown, self.quality
        )
        return mean, scale_index.to("cpu", torch.uint8).numpy().ravel()

    def positions(self, index: int, x: Tensor) -> Tensor:
        """(1, c, h, w) at the positions of a pass, row by row: (1, c, n)."""
        parity = self.parameters.passes[index].parity
        return x.flatten(2) if parity is None else x[:, :, self._boards[parity]]

    def take(self, index: int, mean: Tensor, k: np.ndarray) -> None:
        """Adds what a pass has coded: its integers `k`, flat."""
        one = self.parameters.passes[index]
        steps = torch.from_numpy(k).view(mean.shape).to(mean.device, torch.int32)
        coded = mean.to(torch.int32) + MEAN_UNIT * steps
        for target, values in ((self.y, coded), (self.shown, coded.to(mean.dtype))):
            part = target[:, one.first : one.end]
            if one.parity is None:
                part.copy_(values.view(part.shape))
            else:
                part[:, :, self._boards[one.parity]] = values

    def latents(self) -> np.ndarray:
        """All of y-hat: int32 (M, h, w)."""
        return self.y[0].contiguous().cpu().numpy()


Coded = tuple[np.ndarray, np.ndarray]
"""Coded integers of a pass and their scale indices, both flat."""


def encode_symbols(
    model: Model, y: Tensor, quality: int, *, optimise: bool = True
) -> tuple[np.ndarray, list[Coded], np.ndarray]:
    """What is coded of one tile.

    Args:
        model: a loaded model.
        y: (1, M, h, w) float32, the gain of `quality` applied.
        quality: in 1/32 steps.
        optimise: whether to round for rate and distortion, or plainly.

    Returns:
        z-hat, int32 (N, h / 4, w / 4); the passes of y; and y-hat as a decoder will have it,
        int32 (M, h, w).

    Raises:
        ModelError: where the model's transforms overflow.
    """
    height, width = y.shape[2:]
    coded = []
    with torch.autocast(model.exact_device.type, enabled=False):
        z = hyper_latents(model, y)
        if not (torch.isfinite(y).all() and torch.isfinite(z).all()):
            raise ModelError(f"model {model.name}: its latents of this image are not finite")
        passes = _Passes(model, z, quality, height, width)
        weights = step_weights(model.net, quality)
        for i in passes:
            one = model.net.config.passes[i]
            mean, index = passes.predict(i)
            part = passes.positions(i, y[:, one.first : one.end].to(mean))
            residual = part - mean / MEAN_UNIT
            if optimise:
                weight = weights[one.first : one.end]
                values = round_for_rate(residual, index, model.y_tables, weight)
            else:
                values = round_plainly(residual)
            passes.take(i, mean, values)
            coded.append((values, index))
    return z[0].to("cpu", torch.int32).numpy(), coded, passes.latents()


def encode_tile(model: Model, y: Tensor, quality: int) -> tuple[bytes, bytes]:
    """The z stream and the y stream of one tile; arguments as for :func:`encode_symbols`."""
    return encode_tile_and_latents(model, y, quality)[:2]


def encode_tile_and_latents(
    model: Model, y: Tensor, quality: int, *, optimise: bool = True
) -> tuple[bytes, bytes, np.ndarray]:
    """As :func:`encode_tile`, and the y-hat that a decoder will get: int32 (M, h, w)."""
    z_hat, coded, y_hat = encode_symbols(model, y, quality, optimise=optimise)
    z_stream = encode([(z_hat.ravel(), channels_of(z_hat.shape))], model.z_tables)
    return z_stream, encode(coded, model.y_tables), y_hat


def decode_tile(
    model: Model, z_stream: bytes, y_stream: bytes, quality: int, height: int, width: int
) -> TileLatents:
    """The inverse of :func:`encode_tile` for a tile of (height, width) latents.

    Raises:
        FormatError: where a stream does not end where it should.
    """
    z_hat = decode_z(model.z_tables, z_stream, hyper_side(height), hyper_side(width))
    z = torch.from_numpy(z_hat)[None]
    decoder = Decoder(y_stream, model.y_tables)
    with torch.autocast(model.exact_device.type, enabled=False):
        passes = _Passes(model, z, quality, height, width)
        for i in passes:
            mean, index = passes.predict(i)
            passes.take(i, mean, decoder.read(index))
    decoder.finish()
    return TileLatents(passes.latents(), z_hat)


def decode_z(tables: Tables, stream: bytes, height: int, width: int) -> np.ndarray:
    """z-hat of a tile: int32 (N, height, width)."""
    shape = (len(tables.low), height, width)
    decoder = Decoder(stream, tables)
    z_hat = decoder.read(channels_of(shape)).reshape(shape)
    decoder.finish()
    return z_hat


def channels_of(shape: tuple[int, ...]) -> np.ndarray:
    """The table of each symbol of z: its channel."""
    return np.repeat(np.arange(shape[0], dtype=np.uint16), shape[1] * shape[2])
