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

_WINDOWS_AT_ONCE = 5
"""Windows that one thread of a CPU synthesises in one call; other threads take other windows."""


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
        whole: whether to compare all of a large tile, or windows of it.
    """
    windows = {block: [block] if whole else sampled_areas(block) for block in tile.blocks()}
    parts = [counted(window, source.box) for of_block in windows.values() for window in of_block]
    if not is_sampled_enough(sum(part.width * part.height for part in parts), tile.width * tile.height):
        return NO_FILTER
    total, squares, pixels = Statistics.none(), np.zeros(DETAILS), 0
    for box, of_block in windows.items():
        block = _Block(model, box, *_original(source, box, group, model.device))
        counts = {window: block.counts(window, source.box) for window in of_block}
        counts = {window: mask for window, mask in counts.items() if mask.any()}
        comparisons = [
            _Comparison(block, same_size, [counts[window] for window in same_size], y_hat, tile, quality)
            for same_size in _by_size(list(counts), model.device)
        ]
        total = sum(side_by_side(_Comparison.statistics, comparisons, model.device), total)
        valid = np.count_nonzero(block.valid)
        squares += side_by_side(_Block.mean_squares, [block], model.device)[0] * valid
        pixels += valid
    return choose(total, pixels, squares / max(1, pixels), quality)


@dataclass(frozen=True)
class _Block:
    """The original of a block of a tile.

    Attributes:
        model: decodes it.
        box: its pixels.
        original: (1, 3, h, w), as the network sees it.
        has_valid: which bands have a valid sample in it, bool (c,).
        valid: where all of these bands are valid, bool (h, w).
    """

    model: Model
    box: Box
    original: Tensor
    has_valid: np.ndarray
    valid: np.ndarray

    def counts(self, window: Box, image: Box) -> np.ndarray:
        """Which pixels of a window count: bool (h, w)."""
        counts = np.zeros((window.height, window.width), bool)
        counts[counted(window, image).slices(window)] = True
        counts &= self.valid[window.slices(self.box)]
        return counts

    def mean_squares(self) -> np.ndarray:
        """Mean squares of the details of the whole original."""
        return mean_squares(self.original, PATCH_SPACING)


@dataclass(frozen=True)
class _Comparison:
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
        """Statistics of the decoded windows, each decoded without the latents around it."""
        model, cells = self.block.model, self.tile.scaled_down(STRIDE)
        inner = [window.scaled_down(STRIDE).slices(cells) for window in self.windows]
        latents = np.stack([self.y_hat[:, rows, cols] for rows, cols in inner])
        images = synthesise(model, torch.from_numpy(latents).to(model.device), self.quality)
        total = Statistics.none()
        for window, counts, image in zip(self.windows, self.counts, images, strict=True):
            decoded = image[None, :, : window.height, : window.width]
            rows, cols = window.slices(self.block.box)
            original = self.block.original[..., rows, cols]
            error = _of_bands(original - decoded.clamp(0, 1), self.block.has_valid)
            total += statistics(decoded, original, error, counts)
        return total


def _by_size(windows: list[Box], device: torch.device) -> Iterator[list[Box]]:
    """Windows of one size: all of them, but on a CPU a few at a time, so that several threads have some."""
    most = _WINDOWS_AT_ONCE if device.type == "cpu" else len(windows)
    for _, group in groupby(windows, lambda window: (window.height, window.width)):
        same_size = list(group)
        yield from (same_size[i : i + most] for i in range(0, len(same_size), most))


def _original(source: Source, block: Box, group: int, device: torch.device) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Original, `has_valid` and `valid` of a :class:`_Block`."""
    x, valid = network_pixels(source, block, group, device)
    x = x[..., : block.height, : block.width]
    if valid is None:
        bands = len(source.layout.groups[group])
        return x, np.ones(bands, bool), np.ones((block.height, block.width), bool)
    has_valid = np.asarray(valid.any((0, 1)))
    return x, has_valid, np.asarray(valid[..., has_valid].all(2) & has_valid.any())


def _of_bands(error: Tensor, has_valid: np.ndarray) -> Tensor:
    """(1, 3, h, w) with the mean in channels of the same band, and 0 in a band without valid samples."""
    factor = torch.from_numpy(has_valid).to(error.device)[:, None, None]
    return to_three((from_three(error[0], len(has_valid)) * factor)[None])
