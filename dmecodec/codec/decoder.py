"""From a `.dmen` file to pixels: the whole image or a window, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..base.boxes import Box
from ..base.threads import side_by_side
from ..bounded.linear import LinearBase
from ..bounded.tile import base_samples, decode_bounded
from ..entropy.lossless import decode_alpha, decode_mask
from ..errors import FormatError
from ..format.kinds import Kind
from ..format.layout import Alpha, layout_of
from ..format.reader import Reader
from ..network.config import HYPER_STRIDE, STRIDE
from ..network.transforms import HALO
from ..restoration.details import REACH, apply, in_steps
from ..restoration.version_2 import from_bytes
from ..weights.model import Model
from .samples import from_network, from_three, nowhere_valid, to_samples
from .synthesis import synthesise
from .tile import TileLatents, decode_tile, hyper_side

_PART = 512
"""Side in pixels of what a thread of its own makes where pixels are to be the same on any number of them."""


class _Tile:
    """One tile and group, each of its streams decoded when it is first asked for.

    Attributes:
        box: its pixels.
        empty: whether it has no latents, which says that nothing near it is valid.
    """

    def __init__(self, decoder: Decoder, index: int, group: int) -> None:
        self.box = Box(*decoder.header.tile_box(index))
        self._decoder, self._group = decoder, group
        self._streams = decoder.reader.tile(index, group)
        masked = decoder.layout.has_alpha or decoder.layout.has_nodata
        self.empty = masked and not self._streams[Kind.Z] and not self._streams[Kind.Y]
        if self.empty and self._streams.get(Kind.RESIDUAL):
            raise FormatError("damaged: a tile without latents has a residual")
        if group and self._streams.get(Kind.ALPHA):
            raise FormatError("a second alpha stream of a tile")
        if self.empty and self._streams.get(Kind.FILTER):
            raise FormatError("damaged: a tile without latents has a filter")
        stream = self._streams.get(Kind.FILTER)
        self._of_version_2 = from_bytes(stream) if stream else None
        self._latents: TileLatents | None = None
        self._gone = 0
        self._alpha: np.ndarray | None = None
        self._mask: np.ndarray | None = None
        self._bounded: np.ndarray | None = None

    def y(self, part: Box) -> np.ndarray:
        """y-hat in a box of latents, int16 or int32 (M, h, w)."""
        rows, cols = part.slices(self.box.scaled_down(STRIDE))
        y = self._kept().y
        return y[:, rows.start - self._gone : rows.stop - self._gone, cols]

    def forget_above(self, row: int) -> None:
        """Drops what is above a row of latents of the image."""
        gone = row - self.box.row // STRIDE
        if self._latents is not None and gone > self._gone:
            kept = self._latents.y[:, gone - self._gone :].copy()
            self._latents, self._gone = replace(self._latents, y=kept), gone

    @property
    def coefficients(self) -> np.ndarray | None:
        """Of the restoration filter, int (3, 12), or None where there is none."""
        filtered = self._decoder.reader.filtered
        return self._kept().coefficients if filtered else self._of_version_2

    def _kept(self) -> TileLatents:
        if self._latents is None:
            found, one_of_many = self.latents(), self._decoder.header.tile_count > 1
            if one_of_many and max(found.y.max(), -found.y.min()) < 1 << 15:  # as nearly always
                found = replace(found, y=found.y.astype(np.int16))
            self._latents = found
        return self._latents

    def latents(self) -> TileLatents:
        """Both latents, decoded anew; those of an empty tile are 0."""
        cells = self.box.scaled_down(STRIDE)
        model = self._decoder.model
        config = model.net.config
        if self.empty:
            side = hyper_side(cells.height), hyper_side(cells.width)
            return TileLatents(
                np.zeros((config.latents, cells.height, cells.width), np.int32),
                np.zeros((config.hyper, *side), np.int32),
            )
        reader, quality = self._decoder.reader, self._decoder.header.quality
        with torch.inference_mode():
            return decode_tile(
                model,
                self._streams[Kind.Z],
                self._streams[Kind.Y],
                quality,
                cells.height,
                cells.width,
                filtered=reader.filtered,
                stacked=reader.stacked,
            )

    @property
    def alpha(self) -> np.ndarray:
        """Alpha or the mask, uint8 (h, w)."""
        if self._alpha is None:
            stream = self._streams[Kind.ALPHA]
            self._alpha = decode_alpha(stream, self.box.height, self.box.width)
        return self._alpha

    @property
    def mask(self) -> np.ndarray:
        """Which samples are not nodata, bool (h, w, c)."""
        if self._mask is None:
            layout, stream = self._decoder.layout, self._streams[Kind.MASK]
            nodata = [layout.bands[i].nodata is not None for i in layout.groups[self._group]]
            self._mask = decode_mask(stream, self.box.height, self.box.width, nodata)
        return self._mask

    @property
    def bounded(self) -> np.ndarray:
        """The samples of a file with a bound, the same on every device: uint8 or uint16 (h, w, c)."""
        if self._bounded is None:
            self._bounded = self._decode_bounded()
        return self._bounded

    def _decode_bounded(self) -> np.ndarray:
        decoder, box = self._decoder, self.box
        assert decoder.base is not None and decoder.bound is not None
        layout, group = decoder.layout, self._group
        if self.empty:
            return nowhere_valid(box.height, box.width, layout, group)
        # Its latents are of no more use once there are samples.
        y = self.latents().y
        base = base_samples(decoder.base, y, layout, group)[: box.height, : box.width]
        valid = decoder.valid(box, group) if decoder.header.mode == "BANDS" else None
        stream = self._streams[Kind.RESIDUAL]
        return decode_bounded(stream, valid, base, layout, group, decoder.bound)


class Decoder:
    """Decodes one file.

    Args:
        reader: an open container.
        model: the model that its header names.
        steady: whether pixels are to be the same whatever the number of threads; it takes more time.

    Attributes:
        layout: what its bands are.

    Raises:
        FormatError: where what the file says of its bands is damaged.
    """

    def __init__(self, reader: Reader, model: Model, *, steady: bool = False) -> None:
        self.reader, self.header, self.model = reader, reader.header, model
        self._steady = steady
        self.layout = layout_of(reader)
        self.image = Box(0, 0, self.header.width, self.header.height)
        self.side = self.header.tile // STRIDE
        self._tiles: dict[tuple[int, int], _Tile] = {}
        self.bound = reader.bound()
        self.base = None if self.bound is None else LinearBase(model, self.header.quality)

    def begin(self, window: Box) -> None:
        """Decodes the tiles of a window's first block, which :meth:`blocks` then finds decoded.

        So a file that claims to be huge fails before anyone makes room for all its pixels.

        Raises:
            FormatError: where the file is damaged.
        """
        block = next(window.blocks())
        for group in range(self.header.groups):
            if not self._is_blank(block, group, self.valid(block, group)):
                self._gather(self._cells(block), group)

    def blocks(self, window: Box, write: Callable[[int, int, np.ndarray], None]) -> None:
        """Decodes a window, calling `write(col, row, pixels)` for each block of it.

        Pixels are uint8 or uint16 (height, width, planes), as the layout says; col and row count
        from the window's corner. Reads only the tiles under the window and within the synthesis
        transform's reach of it; runs no network where nothing is valid.

        Raises:
            FormatError: where the file is damaged.
        """
        for block in window.blocks():
            write(block.col - window.col, block.row - window.row, self._planes(block))
            self._forget(block, last=block.right == window.right)
        self._tiles.clear()

    def latents(self) -> tuple[np.ndarray, np.ndarray]:
        """y-hat in 1/16 step and z-hat of the whole image, int32, the channels of group after group."""
        config = self.model.net.config
        cells = self.image.scaled_down(STRIDE)
        hyper = self.image.scaled_down(STRIDE * HYPER_STRIDE)
        groups = self.header.groups
        y = np.empty((groups * config.latents, cells.height, cells.width), np.int32)
        z = np.empty((groups * config.hyper, hyper.height, hyper.width), np.int32)
        for index in range(self.header.tile_count):
            for group in range(groups):
                box, decoded = Box(*self.header.tile_box(index)), self._decode(index, group)
                if decoded.empty:
                    self.valid(box, group)  # refuses it where something is
                    self._tiles.clear()
                tile = decoded.latents()
                rows, cols = box.scaled_down(STRIDE).slices(cells)
                y[group * config.latents :][: config.latents, rows, cols] = tile.y
                rows, cols = box.scaled_down(STRIDE * HYPER_STRIDE).slices(hyper)
                z[group * config.hyper :][: config.hyper, rows, cols] = tile.z
        return y, z

    def _decode(self, index: int, group: int) -> _Tile:
        """A tile of a group, its chunk read."""
        return _Tile(self, index, group)

    def _tile(self, index: int, group: int) -> _Tile:
        """The same, kept while the blocks near it are decoded."""
        if (index, group) not in self._tiles:
            self._tiles[index, group] = self._decode(index, group)
        return self._tiles[index, group]

    def _cells(self, block: Box) -> Box:
        """The latents that a block of pixels is made of."""
        halo = HALO if self.bound is None else 0
        return block.scaled_down(STRIDE).grown(halo, self.image.scaled_down(STRIDE))

    def _forget(self, block: Box, *, last: bool) -> None:
        """Drops what no block after this one can see, which may be the last one of its row.

        Of a wide image some rows of latents are left of what is done, and the tiles below it, not three rows of tiles.
        """
        row = block.bottom - HALO * STRIDE
        for key, tile in list(self._tiles.items()):
            if not last and tile.box.right > block.right - HALO * STRIDE:
                continue  # the next block may see it
            if tile.box.bottom <= row:
                del self._tiles[key]
            else:
                tile.forget_above(row // STRIDE)

    def _gather(self, cells: Box, group: int) -> np.ndarray:
        """y-hat of a box of latents, from the tiles that it touches: int32 (M, h, w)."""
        y = np.empty((self.model.net.config.latents, cells.height, cells.width), np.int32)
        for part in cells.blocks(self.side):
            tile = self._tile(self._tile_index(part), group)
            rows, cols = part.slices(cells)
            y[:, rows, cols] = tile.y(part)
        return y

    def _tile_index(self, cells: Box) -> int:
        return cells.row // self.side * self.header.tile_columns + cells.col // self.side

    def _planes(self, block: Box) -> np.ndarray:
        """All planes of a block: uint8 or uint16 (h, w, planes)."""
        layout = self.layout
        if layout.groups == (tuple(range(layout.planes)),):  # nothing to put together
            return self._samples(block, 0)
        shape = (block.height, block.width, layout.planes)
        planes = np.empty(shape, layout.dtype)
        for group, members in enumerate(layout.groups):
            planes[..., [layout.plane_of(band) for band in members]] = self._samples(block, group)
        if layout.has_alpha:
            wide = layout.depth == 16 and layout.alpha is Alpha.BAND
            alpha = self._assemble(block, 0, lambda tile: tile.alpha)
            planes[..., layout.alpha_plane] = alpha.astype(layout.dtype) * (257 if wide else 1)
        return planes

    def _samples(self, block: Box, group: int) -> np.ndarray:
        """The bands of a group in a block: uint8 or uint16 (h, w, c)."""
        valid = self.valid(block, group)
        if self._is_blank(block, group, valid):
            return nowhere_valid(block.height, block.width, self.layout, group)
        if self.bound is not None:
            return self._assemble(block, group, lambda tile: tile.bounded)
        samples = to_samples(
            self._synthesise(block, group),
            valid if self.header.mode == "BANDS" else None,
            self.layout,
            group,
        )
        for tile, part in self._tiles_under(block, group):
            if tile.empty:
                rows, cols = part.slices(block)
                samples[rows, cols] = nowhere_valid(part.height, part.width, self.layout, group)
        return samples

    def _is_blank(self, block: Box, group: int, valid: np.ndarray | None) -> bool:
        """Whether the samples of a block follow from its masks alone."""
        if self.header.mode == "BANDS":
            return valid is not None and not valid.any()
        return all(tile.empty for tile, _ in self._tiles_under(block, group))

    def _synthesise(self, block: Box, group: int) -> Tensor:
        """What the network makes of a group in a block, scaled, not rounded: float32 (c, h, w)."""
        if not self._steady:
            return self._synthesise_alone(block, group)
        self._gather(self._cells(block), group)  # so that the parts below find the tiles decoded
        parts = list(block.blocks(_PART))
        work = partial(self._synthesise_alone, group=group)
        shape = len(self.layout.groups[group]), block.height, block.width
        found = torch.empty(shape, dtype=torch.float32)
        for part, x in zip(parts, side_by_side(work, parts, self.model.device), strict=True):
            rows, cols = part.slices(block)
            found[:, rows, cols] = x
        return found

    @torch.inference_mode()
    def _synthesise_alone(self, block: Box, group: int) -> Tensor:
        outer = self._cells(block)
        y_hat = torch.from_numpy(self._gather(outer, group))[None].to(self.model.device)
        x = synthesise(self.model, y_hat, self.header.quality)
        x = self._restore(x, outer.scaled_up(STRIDE), block, group)
        if not torch.isfinite(x).all():
            raise FormatError("damaged: the latents do not give an image")
        x = from_three(x[0], len(self.layout.groups[group]))
        return from_network(x, self.layout, group)

    def _restore(self, x: Tensor, outer: Box, block: Box, group: int) -> Tensor:
        """The block in what was synthesised, each tile with its filter: (1, 3, h, w)."""
        rows, cols = block.slices(outer)
        found = x[:, :, rows, cols]
        if not (self.reader.filtered or Kind.FILTER in self.header.kinds):
            return found
        found = found.clone()
        for tile, part in self._tiles_under(block, group):
            if tile.coefficients is not None:
                near = part.grown(REACH, self.image)
                rows, cols = near.slices(outer)
                filtered = apply(x[:, :, rows, cols], in_steps(tile.coefficients, x))
                rows, cols = part.slices(near)
                target_rows, target_cols = part.slices(block)
                found[:, :, target_rows, target_cols] = filtered[:, :, rows, cols]
        return found

    def valid(self, block: Box, group: int) -> np.ndarray | None:
        """Which samples of a block are valid: bool (h, w, c), or None where all are."""
        layout = self.layout
        if not (layout.has_alpha or layout.has_nodata):
            return None
        shape = (block.height, block.width, len(layout.groups[group]))
        valid = np.ones(shape, bool)
        if layout.has_nodata:
            valid &= self._assemble(block, group, lambda tile: tile.mask)
        if layout.has_alpha:
            valid &= self._assemble(block, 0, lambda tile: tile.alpha)[..., None] > 0
        for tile, part in self._tiles_under(block, group):
            if tile.empty and valid[part.slices(block)].any():
                raise FormatError("damaged: a tile with valid pixels has no latents")
        return valid

    def _assemble(self, block: Box, group: int, part_of: Callable[[_Tile], np.ndarray]) -> np.ndarray:
        """A lossless plane of a block, from the tiles under it."""
        found: np.ndarray | None = None
        for tile, part in self._tiles_under(block, group):
            plane = part_of(tile)
            if found is None:
                found = np.empty((block.height, block.width, *plane.shape[2:]), plane.dtype)
            found[part.slices(block)] = plane[part.slices(tile.box)]
        assert found is not None
        return found

    def _tiles_under(self, block: Box, group: int) -> list[tuple[_Tile, Box]]:
        """The tiles that a block touches, and which part of it lies in each."""
        parts = block.blocks(self.header.tile)
        return [(self._tile(self._tile_index(p.scaled_down(STRIDE)), group), p) for p in parts]
