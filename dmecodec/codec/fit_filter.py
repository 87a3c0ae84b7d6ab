"""The encoder's filter of one tile: it decodes windows of it, and compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from ..base.boxes import Box
from ..base.threads import side_by_side
from ..images.source import Source
from ..network.config import STRIDE
from ..restoration.details import DETAILS, NO_FILTER
from ..restoration.fit import Statistics, choose, is_sampled_enough, mean_squares, statistics
from ..restoration.sampling import PATCH_SPACING, counted, sampled_areas
from ..weights.model import Model
from .pixels import network_pixels
from .samples import from_three, to_three
from .synthesis import synthesise

_TOGETHER = 5
"""Windows that are decoded in one go on a CPU; others beside them."""


def fit_filter(
    model: Model,
    source: Source,
    tile: Box,
    group: int,
    y_hat: np.ndarray,
    quality: int,
    whole: bool,
) -> np.ndarray:
    """The coefficients of a tile and band group, int (3, 12); all 0 where no filter pays.

    Args:
        model: a loaded model.
        source: the image.
        tile, group: which part of it.
        y_hat: its latents as a decoder will have them, int32 (M, h, w) in 1/16 step.
        quality: in 1/32 steps.
        whole: whether to look at all of a large tile, or at windows of it.
    """
    image = source.box
    looked_at = {block: [block] if whole else sampled_areas(block) for block in tile.blocks()}
    parts = [counted(window, image) for found in looked_at.values() for window in found]
    pixels = tile.width * tile.height
    if not is_sampled_enough(sum(part.width * part.height for part in parts), pixels):
        return NO_FILTER
    found, usual, pixels = Statistics.none(), np.zeros(DETAILS), 0
    for block in looked_at:
        part = _Block(model, block, *_original(source, block, group, model.device))
        count = {window: part.counts(window, image) for window in looked_at[block]}
        count = {window: counts for window, counts in count.items() if counts.any()}
        looks = [
            _Look(part, alike, [count[w] for w in alike], y_hat, tile, quality)
            for alike in _alike(list(count), model.device)
        ]
        found = sum(side_by_side(_Look.statistics, looks, model.device), found)
        squares = side_by_side(_Block.mean_squares, [part], model.device)[0]
        usual += squares * np.count_nonzero(part.valid)
        pixels += np.count_nonzero(part.valid)
    return choose(found, pixels, usual / max(1, pixels), quality)


@dataclass(frozen=True)
class _Block:
    """A block of a tile as the network is to see it.

    Attributes:
        model: which will decode it.
        box: where it is.
        original: (1, 3, h, w).
        alive: which bands have a valid sample in it, bool (c,).
        valid: where all of these have one, bool (h, w).
    """

    model: Model
    box: Box
    original: Tensor
    alive: np.ndarray
    valid: np.ndarray

    def counts(self, window: Box, image: Box) -> np.ndarray:
        """Which pixels of a window count: bool (h, w)."""
        counts = np.zeros((window.height, window.width), bool)
        counts[counted(window, image).slices(window)] = True
        counts &= self.valid[window.slices(self.box)]
        return counts

    def mean_squares(self) -> np.ndarray:
        """Of the original's details, all over it."""
        return mean_squares(self.original, PATCH_SPACING)


@dataclass(frozen=True)
class _Look:
    """Windows of one size in a block, which are decoded together: that takes two thirds of the time.

    Attributes:
        block, windows: which.
        counts: which of their pixels count, bool (h, w) each.
        y_hat, tile, quality: what they are decoded from, as for :func:`fit_filter`.
    """

    block: _Block
    windows: list[Box]
    counts: list[np.ndarray]
    y_hat: np.ndarray
    tile: Box
    quality: int

    def statistics(self) -> Statistics:
        """Of what a decoder sees of windows that stand alone."""
        model, cells = self.block.model, self.tile.scaled_down(STRIDE)
        inner = [window.scaled_down(STRIDE).slices(cells) for window in self.windows]
        latents = np.stack([self.y_hat[:, rows, cols] for rows, cols in inner])
        x = synthesise(model, torch.from_numpy(latents).to(model.device), self.quality)
        found = Statistics.none()
        for window, counts, one in zip(self.windows, self.counts, x, strict=True):
            seen = one[None, :, : window.height, : window.width]
            rows, cols = window.slices(self.block.box)
            target = self.block.original[..., rows, cols]
            lacking = _of_bands(target - seen.clamp(0, 1), self.block.alive)
            found += statistics(seen, target, lacking, counts)
        return found


def _alike(windows: list[Box], device: torch.device) -> Iterator[list[Box]]:
    """Windows of one size: all together, but on a CPU a few, so that several threads have some."""
    most = _TOGETHER if device.type == "cpu" else len(windows)
    for _, group in groupby(windows, lambda window: (window.height, window.width)):
        alike = list(group)
        yield from (alike[i : i + most] for i in range(0, len(alike), most))


def _original(source: Source, block: Box, group: int, device: torch.device) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """See :class:`_Block`."""
    x, valid = network_pixels(source, block, group, device)
    x = x[..., : block.height, : block.width]
    if valid is None:
        bands = len(source.layout.groups[group])
        return x, np.ones(bands, bool), np.ones((block.height, block.width), bool)
    alive = np.asarray(valid.any((0, 1)))
    return x, alive, np.asarray(valid[..., alive].all(2) & alive.any())


def _of_bands(error: Tensor, alive: np.ndarray) -> Tensor:
    """(1, 3, h, w) with the same in channels of the same band, and nothing in a band without valid samples."""
    matters = torch.from_numpy(alive).to(error.device)[:, None, None]
    return to_three((from_three(error[0], len(alive)) * matters)[None])
