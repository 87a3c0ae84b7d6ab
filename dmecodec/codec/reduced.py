"""From a `.dmen` file to pixels at a reduced resolution, without the network of the synthesis.

The image is the linear path of the synthesis alone, with its colours put right: matrix products and the inverse
wavelet. Files with a bound have the path in integers, as their base image. A pixel of the result is the mean of the
valid pixels that it covers.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..base.boxes import Box
from ..bounded.tile import base_samples
from ..errors import FormatError
from ..format.layout import Alpha
from ..format.reader import Reader
from ..network.config import STRIDE
from ..weights.model import Model
from .colour import corrected
from .decoded_tile import DecodedTile
from .decoder import Decoder, KeptTiles
from .samples import from_network, from_three, nowhere_valid, to_samples
from .synthesis import linear_image


class ReducedDecoder(Decoder):
    """Decodes one file at a resolution of one pixel in `factor` along each axis.

    A model of the paper alone has no linear path: there the whole synthesis runs.

    Args:
        reader: of the file.
        model: the model that its header names.
        factor: a power of two that divides the side of a block.
        kept: as for :class:`Decoder`.

    Raises:
        FormatError: the file's bands are damaged.
    """

    def __init__(self, reader: Reader, model: Model, factor: int, *, kept: KeptTiles | None = None) -> None:
        super().__init__(reader, model, kept=kept)
        self._factor = factor
        self._bases: WeakKeyDictionary[DecodedTile, np.ndarray] = WeakKeyDictionary()

    def target(self, window: Box) -> Box:
        """The pixels of the reduced image that a window of the whole one touches."""
        return window.scaled_down(self._factor)

    def blocks(self, window: Box, write: Callable[[int, int, np.ndarray], None]) -> None:
        """As :meth:`Decoder.blocks`: the window counts pixels of the whole image, what is written reduced ones."""
        covered = self.target(window).scaled_up(self._factor).clipped(self.image)
        super().blocks(covered, lambda col, row, planes: write(col // self._factor, row // self._factor, planes))

    def _planes(self, block: Box) -> np.ndarray:
        layout, size = self.layout, self.target(block)
        planes = np.empty((size.height, size.width, layout.planes), layout.dtype)
        for group, members in enumerate(layout.groups):
            planes[..., [layout.plane_of(band) for band in members]] = self._samples(block, group)
        if layout.has_alpha:
            wide = layout.depth == 16 and layout.alpha is Alpha.BAND
            planes[..., layout.alpha_plane] = self._reduced_alpha(block).astype(layout.dtype) * (257 if wide else 1)
        return planes

    def _samples(self, block: Box, group: int) -> np.ndarray:
        """The bands of a group in a block, reduced: uint8 or uint16 (h, w, c)."""
        valid = self.valid(block, group)
        size = self.target(block)
        if self._is_blank(block, group, valid):
            return nowhere_valid(size.height, size.width, self.layout, group)
        means = self._means(self._scaled(block, group), valid)
        kept = self._kept(block, valid) if self.header.mode == "BANDS" else None
        return to_samples(means, kept, self.layout, group)

    def _means(self, x: Tensor, valid: np.ndarray | None) -> Tensor:
        """Means of x (c, h, w) over its valid pixels; where none is valid, over all."""
        plain = self._pooled(x)
        if valid is None:
            return plain
        weight = torch.from_numpy(valid).to(x.device).permute(2, 0, 1).to(x.dtype)
        share = self._pooled(weight)
        return torch.where(share > 0, self._pooled(x * weight) / share, plain)

    def _kept(self, block: Box, valid: np.ndarray | None) -> np.ndarray | None:
        """Which reduced samples are valid, (h, w, c): by majority; under an alpha band where alpha is not 0."""
        if valid is None:
            return None
        share = self._pooled(torch.from_numpy(valid).permute(2, 0, 1).double()).permute(1, 2, 0).numpy()
        if self.layout.alpha is not Alpha.BAND:
            return share >= 0.5
        if not self.layout.has_nodata:
            return (share > 0) & (self._reduced_alpha(block) > 0)[..., None]
        shown = self._pooled(torch.from_numpy(self._alpha(block) > 0)[None].double())[0].numpy()[..., None]
        return (2 * share >= shown) & (share > 0) & (self._reduced_alpha(block) > 0)[..., None]

    def _reduced_alpha(self, block: Box) -> np.ndarray:
        """Alpha averaged; a mask by majority: uint8 (h, w)."""
        alpha = torch.from_numpy(self._alpha(block))[None]
        mean = self._pooled(alpha.double())
        if self.layout.alpha is Alpha.MASK:
            share = self._pooled((alpha > 0).double())
            mean = torch.where(share >= 0.5, mean / share, 0)
        return mean[0].round().numpy().astype(np.uint8)

    def _alpha(self, block: Box) -> np.ndarray:
        return self._assemble(block, 0, lambda tile: tile.alpha)

    def _pooled(self, x: Tensor) -> Tensor:
        """Means of (c, h, w) over squares; those at the right and lower border are as large as the image lets them."""
        return F.avg_pool2d(x[None], self._factor, ceil_mode=True)[0]

    def _scaled(self, block: Box, group: int) -> Tensor:
        """The linear path of a group in a block, scaled to samples: (c, h, w); of a bounded file float64 integers."""
        if self.bound is not None:
            base = self._assemble(block, group, lambda tile: self._base_samples(tile, group))
            return torch.from_numpy(base.astype(np.float64)).permute(2, 0, 1)
        if self.model.net.config.paper:
            x = self._synthesise(block, group)
        else:
            x = self._linear(block, group)
        for tile, part in self._tiles_under(block, group):
            if tile.is_empty:
                rows, cols = part.slices(block)
                x[:, rows, cols] = 0
        return x

    def _base_samples(self, tile: DecodedTile, group: int) -> np.ndarray:
        if tile.is_empty:
            return nowhere_valid(tile.box.height, tile.box.width, self.layout, group)
        if tile not in self._bases:
            assert self._base is not None
            samples = base_samples(self._base, tile.y(tile.box.scaled_down(STRIDE)), self.layout, group)
            self._bases[tile] = samples[: tile.box.height, : tile.box.width]
        return self._bases[tile]

    @torch.inference_mode()
    def _linear(self, block: Box, group: int) -> Tensor:
        outer = self._cells(block)
        y_hat = torch.from_numpy(self._gather(outer, group))[None].to(self.model.device)
        rows, cols = block.slices(outer.scaled_up(STRIDE))
        quality = self.header.quality
        x = corrected(self.model, linear_image(self.model, y_hat, quality)[0][:, rows, cols], quality)
        if not torch.isfinite(x.sum()):
            raise FormatError("damaged: the latents do not give an image")
        return from_network(from_three(x, len(self.layout.groups[group])), self.layout, group)
