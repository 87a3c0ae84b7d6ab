"""One tile: gained latents to its two streams, and back to exact integers.

In all that is exact a tile stands alone: the hyper coder and the passes see zeros outside it. So tiles decode in any
order, in parallel, or only those that a window needs. The transforms see across tiles; they are float and not here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.boxes import BLOCK
from ..base.device import full_precision
from ..entropy.rans import VALUE_LIMIT, SymbolDecoder, Symbols, encode_stacked
from ..errors import ModelError
from ..format.header import Header
from ..network.config import HYPER_STRIDE, STRIDE
from ..network.parameters import MEAN_UNIT
from ..network.passes import ExactPasses
from ..restoration.prior import filter_symbols, read_filter
from ..weights.model import Model
from .analysis import hyper_latents_of
from .rounding import round_for_rate, round_plainly, step_weights

_SMALL_TILE = 1 << 15
"""Pixels of a tile up to which one thread is faster."""


@dataclass(frozen=True)
class TileLatents:
    """The exact content of a tile.

    Attributes:
        y: int32 (M, h, w), counts of 1/16 step.
        z: int32 (N, ceil(h / 4), ceil(w / 4)).
        coefficients: of the restoration filter, int32 (3, 12); None where the Y stream has none.
    """

    y: np.ndarray
    z: np.ndarray
    coefficients: np.ndarray | None = None


def has_small_tiles(header: Header) -> bool:
    """Whether a tile has so few pixels, as of an image one pixel high, that one thread codes it faster than several."""
    width, height = (STRIDE * -(-min(side, header.tile) // STRIDE) for side in (header.width, header.height))
    return width * height <= _SMALL_TILE


def has_large_tiles(header: Header) -> bool:
    """Whether a tile takes so much memory that one is coded at a time."""
    return header.tile > BLOCK


def hyper_side(latents: int) -> int:
    """Hyper latents along a side of so many latents."""
    return -(-latents // HYPER_STRIDE)


def hyper_latents(model: Model, y: Tensor) -> Tensor:
    """Gained latents (1, M, h, w) of one tile to integer z-hat (1, N, ceil(h / 4), ceil(w / 4))."""
    height, width = y.shape[2:]
    if width % HYPER_STRIDE or height % HYPER_STRIDE:
        y = F.pad(y, (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE))
    z = torch.round(hyper_latents_of(model, y).float())
    return z.clamp(1 - VALUE_LIMIT, VALUE_LIMIT - 1)


def _passes(model: Model, z: Tensor, quality: int, height: int, width: int) -> ExactPasses:
    z = z.to(model.exact_device, model.exact_dtype)
    return ExactPasses(model.net.parameters_of_y, z, quality, height, width)


def _to_bytes(scale_index: Tensor) -> np.ndarray:
    """Scale indices as the entropy coder takes them: uint8, flat."""
    return scale_index.to("cpu", torch.uint8).numpy().ravel()


def _add_steps(mean: Tensor, steps: np.ndarray) -> Tensor:
    """y-hat, a number of steps from the mean: int32 in 1/16 step."""
    k = torch.from_numpy(steps).view(mean.shape).to(mean.device)
    return mean.to(torch.int32) + MEAN_UNIT * k


def _latents(passes: ExactPasses, height: int, width: int) -> np.ndarray:
    """All of y-hat: int32 (M, h, w)."""
    return passes.y.cpu().numpy().reshape(-1, height, width)


def encode_symbols(
    model: Model, y: Tensor, quality: int, *, error_weight: float | None = 1.0
) -> tuple[np.ndarray, list[Symbols], np.ndarray]:
    """The symbols of one tile.

    Args:
        model: a loaded model.
        y: (1, M, h, w) float32, the gain of `quality` applied.
        quality: in 1/32 steps.
        error_weight: factor on what an error is worth beside bits at this quality; None rounds plainly.

    Returns:
        z-hat, int32 (N, ceil(h / 4), ceil(w / 4)); the passes of y; and y-hat as a decoder will have it,
        int32 (M, h, w).

    Raises:
        ModelError: where the model's transforms overflow.
    """
    height, width = y.shape[2:]
    coded = []
    with full_precision(model.exact_device):
        z = hyper_latents(model, y)
        if not (torch.isfinite(y).all() and torch.isfinite(z).all()):
            raise ModelError(f"model {model.name}: its latents of this image are not finite")
        passes = _passes(model, z, quality, height, width)
        weights = None if error_weight is None else error_weight * step_weights(model.net, quality)
        for i, pass_ in enumerate(model.net.config.passes):
            mean, scale_index = passes.predict(i)
            index = _to_bytes(scale_index)
            residual = passes.gather(i, y[0, pass_.first : pass_.end].to(mean)) - mean / MEAN_UNIT
            if weights is None:
                values = round_plainly(residual)
            else:
                weight = weights[pass_.first : pass_.end]
                values = round_for_rate(residual, index, model.y_tables, weight)
            passes.store(i, _add_steps(mean, values))
            coded.append((values, index))
    return z[0].to("cpu", torch.int32).numpy(), coded, _latents(passes, height, width)


def encode_tile(
    model: Model,
    y: Tensor,
    quality: int,
    *,
    error_weight: float | None = 1.0,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[bytes, bytes, np.ndarray]:
    """The z stream and the y stream of one tile, and the y-hat that a decoder will get: int32 (M, h, w).

    Arguments as for :func:`encode_symbols`.

    Args:
        fit: from y-hat to the coefficients of the restoration filter, int (3, 12), with which the y stream then ends;
            None where the file has no filters.
    """
    z_hat, coded, y_hat = encode_symbols(model, y, quality, error_weight=error_weight)
    if fit is not None:
        coded += filter_symbols(fit(y_hat), quality)
    z = [(z_hat.ravel(), channels_of(z_hat.shape))]
    streams = encode_stacked((z, model.z_tables), (coded, model.stream_tables))
    return *streams, y_hat


def decode_tile(
    model: Model,
    z_stream: bytes,
    y_stream: bytes,
    quality: int,
    height: int,
    width: int,
    *,
    filtered: bool,
) -> TileLatents:
    """The inverse of :func:`encode_tile` for a tile of (height, width) latents.

    Args:
        filtered: whether the y stream ends with a restoration filter.

    Raises:
        FormatError: where a stream does not end where it should.
    """
    shape = (len(model.z_tables.low), hyper_side(height), hyper_side(width))
    decoder = SymbolDecoder(z_stream, model.z_tables, y_stream)
    z_hat = decoder.read(channels_of(shape)).reshape(shape)
    decoder.go_on(model.stream_tables)
    z = torch.from_numpy(z_hat)[None]
    with full_precision(model.exact_device):
        passes = _passes(model, z, quality, height, width)
        for i in range(len(passes)):
            mean, scale_index = passes.predict(i)
            passes.store(i, _add_steps(mean, decoder.read(_to_bytes(scale_index))))
    coefficients = read_filter(decoder, quality) if filtered else None
    decoder.finish()
    return TileLatents(_latents(passes, height, width), z_hat, coefficients)


def channels_of(shape: tuple[int, ...]) -> np.ndarray:
    """The table of each symbol of z: its channel."""
    return np.repeat(np.arange(shape[0], dtype=np.uint16), shape[1] * shape[2])
