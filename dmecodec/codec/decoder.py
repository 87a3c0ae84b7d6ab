"""From a `.dmen` file to pixels: the whole image or a window, block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..base.boxes import Box
from ..base.cache import BoundedCache
from ..base.threads import in_order, side_by_side, torch_threads
from ..bounded.linear import LinearBase
from ..errors import FormatError
from ..format.layout import Alpha, layout_of
from ..format.reader import Reader
from ..network.config import HYPER_STRIDE, STRIDE
from ..network.transforms import HALO
from ..restoration.details import REACH, apply, in_steps
from ..weights.model import Model
from .decoded_tile import DecodedTile
from .samples import from_network, from_three, nowhere_valid, to_samples
from .synthesis import synthesise
from .tile import has_large_tiles, has_small_tiles

KeptTiles: TypeAlias = BoundedCache[tuple[Reader, int, int], DecodedTile]
"""Tiles by reader, index and group."""
_PART = 512
"""Side in pixels of the parts of a block that are synthesised, each on one thread, by a steady decoder."""


class Decoder:
    """Decodes one file.

    Args:
        reader: of the file.
        model: the model that its header names.
        kept: tiles that stay decoded for other decoders of the same reader; None keeps those of this decoder alone, as
            long as it needs them.
        steady: whether pixels are to be the same whatever the number of threads; it takes more time.

    Attributes:
        header: of the file.
        layout: of its bands.
        image: the whole image.
        bound: levels that a sample may be from the original, or None.

    Raises:
        FormatError: the file's bands are damaged.
    """

    def __init__(self, reader: Reader, model: Model, *, steady: bool = False, kept: KeptTiles | None = None) -> None:
        self.reader, self.header, self.model = reader, reader.header, model
        self._steady, self._kept_tiles = steady, kept
        self.layout = layout_of(reader)
        self.image = Box(0, 0, self.header.width, self.header.height)
        self._tile_side = self.header.tile // STRIDE
        self._tiles: dict[tuple[int, int], DecodedTile] = {}
        self.bound = self.header.bound
        self._base = None if self.bound is None else LinearBase(model, self.header.quality)

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

    def target(self, window: Box) -> Box:
        """The pixels of the decoded image that a window becomes."""
        return window

    def blocks(self, window: Box, write: Callable[[int, int, np.ndarray], None]) -> None:
        """Decodes a window, calling `write(col, row, pixels)` for each block of it.

        Pixels are uint8 or uint16 (height, width, planes), as the layout says; col and row count
        from the window's corner. Reads only the tiles under the window and within the synthesis
        transform's reach of it; runs no network where nothing is valid.

        Raises:
            FormatError: where the file is damaged.
        """
        with torch_threads(single=has_small_tiles(self.header)):
            self._write_blocks(window, write)

    def _write_blocks(self, window: Box, write: Callable[[int, int, np.ndarray], None]) -> None:
        def finish(block: Box, planes: np.ndarray) -> None:
            write(block.col - window.col, block.row - window.row, planes)
            self._drop(block, is_last_of_row=block.right == window.right)

        blocks = (self._opened(block) for block in window.blocks())
        several = window.has_several() and not has_large_tiles(self.header)
        in_order(self._planes, blocks, finish, self.model.device, several=several)
        self._tiles.clear()

    def _opened(self, block: Box) -> Box:
        """A block, the chunks of its tiles read: other threads, which decode them, only look them up."""
        for part in self._cells(block).blocks(self._tile_side):
            for group in range(self.header.groups):
                self._tile(self._tile_index(part), group)
        return block

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
                tile = self._open_tile(index, group)
                if tile.is_empty:
                    self.valid(tile.box, group)  # refuses an empty tile with valid samples
                    self._tiles.clear()
                latents = tile.latents()
                rows, cols = tile.box.scaled_down(STRIDE).slices(cells)
                y[group * config.latents :][: config.latents, rows, cols] = latents.y
                rows, cols = tile.box.scaled_down(STRIDE * HYPER_STRIDE).slices(hyper)
                z[group * config.hyper :][: config.hyper, rows, cols] = latents.z
        return y, z

    def _open_tile(self, index: int, group: int) -> DecodedTile:
        """A tile of a group, its chunk read."""
        if self._kept_tiles is None:
            return self._new_tile(index, group)
        side = self.header.tile
        size = self.model.net.config.latents * self._tile_side**2 * 2 + 4 * side * side
        return self._kept_tiles.get((self.reader, index, group), lambda: self._new_tile(index, group), lambda _: size)

    def _new_tile(self, index: int, group: int) -> DecodedTile:
        return DecodedTile(self.reader, self.layout, self.model, index, group)

    def _tile(self, index: int, group: int) -> DecodedTile:
        """The same, kept while the blocks near it are decoded."""
        if (index, group) not in self._tiles:
            self._tiles[index, group] = self._open_tile(index, group)
        return self._tiles[index, group]

    def _cells(self, block: Box) -> Box:
        """The latents that a block of pixels is made of."""
        halo = HALO if self.bound is None else 0
        return block.scaled_down(STRIDE).grown(halo, self.image.scaled_down(STRIDE))

    def _drop(self, block: Box, *, is_last_of_row: bool) -> None:
        """Drops the tiles, and the rows of latents of a tile, that no block after this one can see.

        So of a wide image one row of tiles is kept and some rows of latents above it, not three rows of tiles.
        """
        row = block.bottom - HALO * STRIDE
        for key, tile in list(self._tiles.items()):
            if not is_last_of_row and tile.box.right > block.right - HALO * STRIDE:
                continue  # the next block may see it
            if tile.box.bottom <= row:
                del self._tiles[key]
            elif self._kept_tiles is None:
                tile.drop_above(row // STRIDE)

    def _gather(self, cells: Box, group: int) -> np.ndarray:
        """y-hat of a box of latents, from the tiles that it touches: int32 (M, h, w)."""
        y = np.empty((self.model.net.config.latents, cells.height, cells.width), np.int32)
        parts = list(cells.blocks(self._tile_side))
        tiles = [self._tile(self._tile_index(part), group) for part in parts]
        if len(tiles) > 1 and not has_large_tiles(self.header):
            side_by_side(DecodedTile.decode_unless_begun, tiles, self.model.device)
        for part, tile in zip(parts, tiles, strict=True):
            rows, cols = part.slices(cells)
            y[:, rows, cols] = tile.y(part)
        return y

    def _tile_index(self, cells: Box) -> int:
        return cells.row // self._tile_side * self.header.tile_columns + cells.col // self._tile_side

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
            return self._assemble(block, group, lambda tile: self._bounded_samples(tile, group))
        samples = to_samples(
            self._synthesise(block, group),
            valid if self.header.mode == "BANDS" else None,
            self.layout,
            group,
        )
        for tile, part in self._tiles_under(block, group):
            if tile.is_empty:
                rows, cols = part.slices(block)
                samples[rows, cols] = nowhere_valid(part.height, part.width, self.layout, group)
        return samples

    def _bounded_samples(self, tile: DecodedTile, group: int) -> np.ndarray:
        assert self._base is not None
        valid = self.valid(tile.box, group) if self.header.mode == "BANDS" else None
        return tile.bounded_samples(self._base, valid)

    def _is_blank(self, block: Box, group: int, valid: np.ndarray | None) -> bool:
        """Whether the samples of a block follow from its masks alone."""
        if self.header.mode == "BANDS":
            return valid is not None and not valid.any()
        return all(tile.is_empty for tile, _ in self._tiles_under(block, group))

    def _synthesise(self, block: Box, group: int) -> Tensor:
        """What the network makes of a group in a block, scaled, not rounded: float32 (c, h, w)."""
        if not self._steady:
            return self._synthesise_part(block, group)
        self._gather(self._cells(block), group)  # decodes the tiles before threads ask for them
        parts = list(block.blocks(_PART))
        work = partial(self._synthesise_part, group=group)
        shape = len(self.layout.groups[group]), block.height, block.width
        whole = torch.empty(shape, dtype=torch.float32)
        for part, x in zip(parts, side_by_side(work, parts, self.model.device), strict=True):
            rows, cols = part.slices(block)
            whole[:, rows, cols] = x
        return whole

    @torch.inference_mode()
    def _synthesise_part(self, block: Box, group: int) -> Tensor:
        outer = self._cells(block)
        y_hat = torch.from_numpy(self._gather(outer, group))[None].to(self.model.device)
        x = synthesise(self.model, y_hat, self.header.quality)
        x = self._restore(x, outer.scaled_up(STRIDE), block, group)
        if not torch.isfinite(torch.stack(torch.aminmax(x))).all():
            raise FormatError("damaged: the latents do not give an image")
        x = from_three(x[0], len(self.layout.groups[group]))
        return from_network(x, self.layout, group)

    def _restore(self, x: Tensor, outer: Box, block: Box, group: int) -> Tensor:
        """A block of an image, each tile with its filter: (1, 3, h, w).

        Args:
            x: the synthesised image of `outer`, a box around the block.
        """
        rows, cols = block.slices(outer)
        restored = x[:, :, rows, cols]
        if not self.header.has_filters:
            return restored
        restored = restored.clone()
        for tile, part in self._tiles_under(block, group):
            if tile.coefficients is not None:
                near = part.grown(REACH, self.image)
                rows, cols = near.slices(outer)
                filtered = apply(x[:, :, rows, cols], in_steps(tile.coefficients, x))
                rows, cols = part.slices(near)
                target_rows, target_cols = part.slices(block)
                restored[:, :, target_rows, target_cols] = filtered[:, :, rows, cols]
        return restored

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
            if tile.is_empty and valid[part.slices(block)].any():
                raise FormatError("damaged: a tile with valid pixels has no latents")
        return valid

    def _assemble(self, block: Box, group: int, plane_of: Callable[[DecodedTile], np.ndarray]) -> np.ndarray:
        """A plane of a block, from the tiles under it."""
        whole: np.ndarray | None = None
        for tile, part in self._tiles_under(block, group):
            plane = plane_of(tile)
            if whole is None:
                whole = np.empty((block.height, block.width, *plane.shape[2:]), plane.dtype)
            whole[part.slices(block)] = plane[part.slices(tile.box)]
        assert whole is not None
        return whole

    def _tiles_under(self, block: Box, group: int) -> list[tuple[DecodedTile, Box]]:
        """The tiles that a block touches, and the part of the block in each."""
        parts = block.blocks(self.header.tile)
        return [(self._tile(self._tile_index(part.scaled_down(STRIDE)), group), part) for part in parts]
