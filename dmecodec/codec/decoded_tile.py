"""One tile of a file, each of its streams decoded when it is first asked for, by whichever thread asks first."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import torch

from ..base.boxes import Box
from ..bounded.linear import LinearBase
from ..bounded.tile import base_samples, decode_bounded
from ..entropy.lossless import decode_alpha, decode_mask
from ..errors import FormatError
from ..format.kinds import Kind
from ..format.layout import Layout
from ..format.reader import Reader
from ..network.config import STRIDE
from ..weights.model import Model
from .samples import nowhere_valid
from .tile import TileLatents, decode_tile, hyper_side


class DecodedTile:
    """One tile of one group.

    Args:
        reader: of the file.
        layout: of its bands.
        model: that the file was made with.
        index, group: which tile.

    Attributes:
        box: its pixels.
        is_empty: whether it has no latents, which says that nothing near it is valid.

    Raises:
        FormatError: the chunk is damaged, or has streams that exclude one another.
    """

    def __init__(self, reader: Reader, layout: Layout, model: Model, index: int, group: int) -> None:
        self.box = Box(*reader.header.tile_box(index))
        self._header, self._layout, self._model, self._group = reader.header, layout, model, group
        self._streams = reader.tile(index, group)
        masked = layout.has_alpha or layout.has_nodata
        self.is_empty = masked and not self._streams[Kind.Z] and not self._streams[Kind.Y]
        if self.is_empty and self._streams.get(Kind.RESIDUAL):
            raise FormatError("damaged: a tile without latents has a residual")
        if group and self._streams.get(Kind.ALPHA):
            raise FormatError("a second alpha stream of a tile")
        self._lock = threading.RLock()
        self._latents: tuple[TileLatents, int] | None = None  # with the number of rows that are dropped above
        self._alpha: np.ndarray | None = None
        self._mask: np.ndarray | None = None
        self._samples: np.ndarray | None = None

    @property
    def _cells(self) -> Box:
        return self.box.scaled_down(STRIDE)

    def y(self, part: Box) -> np.ndarray:
        """y-hat in a box of latents of the image, which lies in the tile: int16 or int32 (M, h, w)."""
        rows, cols = part.slices(self._cells)
        latents, dropped = self._kept_latents()
        return latents.y[:, rows.start - dropped : rows.stop - dropped, cols]

    def drop_above(self, row: int) -> None:
        """Drops the latents above a row of latents of the image."""
        count = row - self._cells.row
        if self._latents is not None and count > self._latents[1]:
            latents, dropped = self._latents
            self._latents = replace(latents, y=latents.y[:, count - dropped :].copy()), count

    @property
    def coefficients(self) -> np.ndarray | None:
        """Coefficients of the restoration filter, int (3, 12), or None where there is none."""
        return self._kept_latents()[0].coefficients

    def decode_unless_begun(self) -> None:
        """Decodes the latents, unless another thread does."""
        if self._lock.acquire(blocking=False):
            try:
                self._kept_latents()
            finally:
                self._lock.release()

    def _kept_latents(self) -> tuple[TileLatents, int]:
        with self._lock:
            if self._latents is None:
                latents = self.latents()
                # Of an image of many tiles, several rows of tiles are kept. Nearly all latents fit 16 bits.
                if self._header.tile_count > 1 and max(latents.y.max(), -latents.y.min()) < 1 << 15:
                    latents = replace(latents, y=latents.y.astype(np.int16))
                self._latents = latents, 0
            return self._latents

    def latents(self) -> TileLatents:
        """Both latents, decoded anew; those of an empty tile are 0."""
        height, width, config = self._cells.height, self._cells.width, self._model.net.config
        if self.is_empty:
            z_shape = config.hyper, hyper_side(height), hyper_side(width)
            return TileLatents(np.zeros((config.latents, height, width), np.int32), np.zeros(z_shape, np.int32))
        z, y, quality = self._streams[Kind.Z], self._streams[Kind.Y], self._header.quality
        with torch.inference_mode():
            return decode_tile(self._model, z, y, quality, height, width, filtered=self._header.has_filters)

    @property
    def alpha(self) -> np.ndarray:
        """Alpha or the mask, uint8 (h, w)."""
        with self._lock:
            if self._alpha is None:
                self._alpha = decode_alpha(self._streams[Kind.ALPHA], self.box.height, self.box.width)
            return self._alpha

    @property
    def mask(self) -> np.ndarray:
        """Which samples are not nodata, bool (h, w, c)."""
        with self._lock:
            if self._mask is None:
                layout = self._layout
                has_nodata = [layout.bands[band].nodata is not None for band in layout.groups[self._group]]
                self._mask = decode_mask(self._streams[Kind.MASK], self.box.height, self.box.width, has_nodata)
            return self._mask

    def bounded_samples(self, base: LinearBase, valid: np.ndarray | None) -> np.ndarray:
        """The samples of a file with a bound on the error, the same on every device: uint8 or uint16 (h, w, c).

        Args:
            base: the base image of the file's model and quality.
            valid: which samples are valid, bool (h, w, c); None where all have a residual.
        """
        with self._lock:
            if self._samples is None:
                self._samples = self._decoded_samples(base, valid)
            return self._samples

    def _decoded_samples(self, base: LinearBase, valid: np.ndarray | None) -> np.ndarray:
        box, layout, group, bound = self.box, self._layout, self._group, self._header.bound
        if self.is_empty:
            return nowhere_valid(box.height, box.width, layout, group)
        assert bound is not None
        pixels = base_samples(base, self.latents().y, layout, group)[: box.height, : box.width]
        return decode_bounded(self._streams[Kind.RESIDUAL], valid, pixels, layout, group, bound)
