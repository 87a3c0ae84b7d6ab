"""The encoder's filter of one tile: it decodes windows of it, and compares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ..bands.pixels import network_pixels
from ..bands.samples import from_three, to_three
from ..bands.source import Planes
from ..coding.rounding import error_worth
from ..coding.synthesis import synthesise
from ..frozen.weights import Model
from ..network.config import STRIDE
from ..tiling import Box
from .details import DETAILS
from .fit import Statistics, choose, enough, mean_squares, statistics
from .sampling import APART, counted, windows
from .stream import to_bytes


def encode_filter(
    model: Model,
    planes: Planes,
    tile: Box,
    group: int,
    y_hat: np.ndarray,
    quality: int,
    whole: bool,
) -> bytes:
    """The FILTER stream of a tile and band group; empty where no filter pays.

    Args:
        model: a loaded model.
        planes: the image.
        tile, group: which part of it.
        y_hat: its latents as a decoder will have them, int32 (M, h, w) in 1/16 step.
        quality: in 1/32 steps.
        whole: whether to look at all of a large tile, or at windows of it.
    """
    image = Box(0, 0, planes.source.width, planes.source.height)
    looked_at = {block: [block] if whole else windows(block) for block in tile.blocks()}
    parts = [counted(window, image) for found in looked_at.values() for window in found]
    pixels = tile.width * tile.height
    if not enough(sum(part.width * part.height for part in parts), pixels):
        return b""
    found, usual, pixels = Statistics.none(), np.zeros(DETAILS), 0
    for block in looked_at:
        original, alive, valid = _original(planes, block, group, model.device)
        count = {}
        for window in looked_at[block]:
            counts = np.zeros((window.height, window.width), bool)
            counts[counted(window, image).slices(window)] = True
            counts &= valid[window.slices(block)]
            if counts.any():
                count[window] = counts
        for window, x in _seen(model, y_hat, tile, list(count), quality):
            rows, cols = window.slices(block)
            target = original[..., rows, cols]
            lacking = _of_bands(target - x.clamp(0, 1), alive)
            found += statistics(x, target, lacking, count[window])
        valid_pixels = np.count_nonzero(valid)
        usual += mean_squares(original, APART) * valid_pixels
        pixels += valid_pixels
    return to_bytes(choose(found, pixels, usual / max(1, pixels), error_worth(quality)))


def _original(
    planes: Planes, block: Box, group: int, device: torch.device
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """A block as the network is to see it, (1, 3, h, w).

    And which bands have a valid sample in it, bool (c,); and where all of these have one, bool (h, w).
    """
    x, valid = network_pixels(planes, block, group, device)
    x = x[..., : block.height, : block.width]
    if valid is None:
        bands = len(planes.layout.groups[group])
        return x, np.ones(bands, bool), np.ones((block.height, block.width), bool)
    alive = valid.any((0, 1))
    return x, alive, valid[..., alive].all(2) & alive.any()


def _seen(
    model: Model, y_hat: np.ndarray, tile: Box, windows: list[Box], quality: int
) -> Iterator[tuple[Box, Tensor]]:
    """What a decoder sees of windows of a tile that stand alone: (1, 3, h, w) each.

    Those of one size are decoded together, which takes two thirds of the time.
    """
    cells = tile.scaled_down(STRIDE)
    for _, group in groupby(windows, lambda window: (window.height, window.width)):
        alike = list(group)
        inner = [window.scaled_down(STRIDE).slices(cells) for window in alike]
        parts = [y_hat[:, rows, cols] for rows, cols in inner]
        x = synthesise(model, torch.from_numpy(np.stack(parts)).to(model.device), quality)
        for window, one in zip(alike, x[..., : alike[0].height, : alike[0].width], strict=True):
            yield window, one[None]


def _of_bands(error: Tensor, alive: np.ndarray) -> Tensor:
    """(1, 3, h, w) with the same in channels of the same band, and nothing in a band without valid samples."""
    matters = torch.from_numpy(alive).to(error.device)[:, None, None]
    return to_three((from_three(error[0], len(alive)) * matters)[None])
