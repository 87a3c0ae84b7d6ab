"""Pixels to latents and hyper latents, as the encoder computes them: in strips, so that threads change no bit.

A layer sees its whole input, so nothing is computed twice but the few rows that it reaches beyond a strip.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.boxes import Box
from ..base.device import autocast
from ..base.threads import side_by_side
from ..images.source import Source
from ..network import wavelet
from ..network.config import HYPER_STRIDE, STRIDE
from ..network.gated import GatedAnalysis
from ..network.sdpm import REACH as SDPM_REACH
from ..network.transforms import Analysis
from ..weights.model import Model
from .pixels import network_pixels

_ROWS, _MORE_ROWS = 16, 32
"""Rows of latents in a strip, about: 256 of pixels, or 512 where a strip reaches far or is little work."""
_LONGER = 4
"""Where there is a single column of latents, strips are so many times longer: each costs time of its own."""


def analyse(model: Model, source: Source, box: Box, group: int = 0) -> Tensor:
    """Latents of a box of pixels that begins on the grid of latents: (1, M, h, w) float32."""
    image = source.box
    tile = box.scaled_down(STRIDE)
    shape = (1, model.net.config.latents, tile.height, tile.width)
    y = torch.empty(shape, dtype=torch.float32, device=model.device)
    for block in box.blocks():
        inner = block.scaled_down(STRIDE)
        outer = inner.grown(model.net.analysis.halo, image.scaled_down(STRIDE))
        seen = outer.scaled_up(STRIDE).clipped(image)
        pixels, _ = network_pixels(source, seen, group, model.device)
        latents = latents_of(model, pixels)
        rows, cols = inner.slices(outer)
        target_rows, target_cols = inner.slices(tile)
        y[:, :, target_rows, target_cols] = latents[:, :, rows, cols]
    return y


def latents_of(model: Model, pixels: Tensor) -> Tensor:
    """Pixels (1, 3, 16 h, 16 w) in 0..1 to latents (1, M, h, w) float32."""
    analysis = model.net.analysis
    with autocast(model.device):
        if model.device.type != "cpu":
            return analysis(pixels)
        return (
            _gated_in_strips(analysis, pixels) if isinstance(analysis, GatedAnalysis) else _in_strips(analysis, pixels)
        )


def _gated_in_strips(analysis: GatedAnalysis, pixels: Tensor) -> Tensor:
    """`analysis(pixels)`, and the same steps as there."""
    longer = _LONGER if pixels.shape[3] == STRIDE else 1
    edges = _edges(pixels.shape[2] // STRIDE, longer * _MORE_ROWS)
    (packed,) = side_by_side(wavelet.pack_to_eighth, [pixels.float()], pixels.device)
    x = _strips(analysis.fine, packed, edges, (2, 2), len(analysis.eighths))
    (packed,) = side_by_side(wavelet.pack_to_sixteenth, [x], pixels.device)
    with torch.autocast("cpu", enabled=False):
        y = _strips(analysis.shortcut, packed, edges, (1, 1), 0)
    return _strips(analysis.coarse, y, edges, (1, 1), len(analysis.sixteenths))


def _in_strips(analysis: Analysis, pixels: Tensor) -> Tensor:
    """`analysis(pixels)`, and the same steps as there."""
    longer = _LONGER if pixels.shape[3] == STRIDE else 1
    edges, few = (_edges(pixels.shape[2] // STRIDE, longer * rows) for rows in (_ROWS, _MORE_ROWS))
    one, two, sdpm, three, four = analysis.blocks
    x = _strips(one, pixels, edges, (16, 8), 3)
    x = _strips(two, x, edges, (8, 4), 1)
    x = _strips(sdpm, x, few, (4, 4), SDPM_REACH)
    x = _strips(three, x, edges, (4, 2), 1)
    x = _strips(four, x, edges, (2, 1), 1).float() * analysis.scale
    if analysis.shortcut is None:
        return x
    (packed,) = side_by_side(wavelet.pack, [pixels.float()], pixels.device)
    with torch.autocast("cpu", enabled=False):
        return _strips(analysis.shortcut, packed, few, (1, 1), 0).add_(x)


def hyper_latents_of(model: Model, y: Tensor) -> Tensor:
    """Gained latents (1, M, 4 h, 4 w) to hyper latents (1, N, h, w), not yet rounded."""
    encoder = model.net.hyper_encoder
    with autocast(model.device):  # the encoder's alone: it need not be exact
        if model.device.type != "cpu":
            return encoder(y)
        edges = _edges(y.shape[2] // HYPER_STRIDE, _ROWS // HYPER_STRIDE)
        first, _, second, _, third = encoder.layers
        x = _strips(lambda part: F.relu(first(encoder.prepare(part))), y, edges, (4, 4), 1)
        x = _strips(lambda part: F.relu(second(part)), x, edges, (4, 2), 1)
        return _strips(third, x, edges, (2, 1), 1)


def _edges(rows: int, most: int) -> list[int]:
    """Where strips of about so many rows begin and end."""
    count = -(-rows // most)
    return [rows * i // count for i in range(count + 1)]


def _strips(
    layer: Callable[[Tensor], Tensor],
    x: Tensor,
    edges: list[int],
    scale: tuple[int, int],
    reach: int,
) -> Tensor:
    """`layer(x)`, strip by strip.

    Args:
        layer: a convolution, or several, with zeros around the image.
        x: (1, c, h, w).
        edges: where strips begin and end, in rows of latents (or of hyper latents).
        scale: rows of x, and of what the layer makes of it, for one of those: 8 and 4 for C block 2.
        reach: rows of x that it sees beyond: half of its kernel.
    """
    rows, out = scale
    stride = rows // out
    margin = -(-reach // stride) * stride

    def strip(edge: tuple[int, int]) -> Tensor:
        first, end = (rows * e for e in edge)
        top = max(0, first - margin)
        y = layer(x[:, :, top : end + margin])
        return y.narrow(2, (first - top) // stride, (end - first) // stride)

    return torch.cat(side_by_side(strip, list(pairwise(edges)), x.device), 2)
