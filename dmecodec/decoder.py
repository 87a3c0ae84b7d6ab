"""From a `.dmen` file to pixels: the whole image or a window, block by block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .alpha import decode_alpha
from .codec import TileLatents, decode_tile
from .container import Kind, Reader
from .device import autocast
from .errors import FormatError
from .linear import LinearBase
from .network.config import HYPER_STRIDE, QUALITY_STEPS, STRIDE
from .network.parameters import MEAN_UNIT
from .network.transforms import HALO
from .residual import decode_residual
from .tiling import Box
from .weights import Model

Streams = dict[int, bytes]
BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


class Decoder:
    """Decodes one file.

    Args:
        reader: an open container.
        model: the model that its header names.
    """

    def __init__(self, reader: Reader, model: Model) -> None:
        self.reader, self.header, self.model = reader, reader.header, model
        self.image = Box(0, 0, self.header.width, self.header.height)
        self.side = self.header.tile // STRIDE
        self._tiles: dict[
            int, tuple[np.ndarray, Streams]
        ] = {}  # y-hat, and what is not decoded yet
        self._alphas: dict[int, np.ndarray] = {}
        self.bound = reader.bound()
        self._base = None if self.bound is None else LinearBase(model, self.header.quality)
        self._exact: dict[int, np.ndarray] = {}  # colours of tiles, where there is a bound

    def begin(self, window: Box) -> None:
        """Decodes the tiles of a window's first block, which :meth:`blocks` then finds decoded.

        So a file that claims to be huge fails before anyone makes room for all its pixels.

        Raises:
            FormatError: where the file is damaged.
        """
        self._gather(self._cells(next(window.blocks())))

    def blocks(self, window: Box, write: Callable[[int, int, np.ndarray], None]) -> None:
        """Decodes a window, calling `write(col, row, pixels)` for each block of it.

        Pixels are uint8 (height, width, bands); col and row count from the window's corner. Reads
        only the tiles under the window and within the synthesis transform's reach of it.

        Raises:
            FormatError: where the file is damaged.
        """
        for block in window.blocks():
            pixels = self._synthesise(block) if self.bound is None else self._exactly(block)
            if self.header.mode in ("LA", "RGBA"):
                pixels = np.concatenate([pixels, self._alpha(block)[:, :, None]], 2)
            write(block.col - window.col, block.row - window.row, pixels)
            if block.right == window.right:
                self._forget(block.bottom)
        self._tiles.clear()
        self._alphas.clear()
        self._exact.clear()

    def latents(self) -> tuple[np.ndarray, np.ndarray]:
        """y-hat (M, h, w) in 1/16 step and z-hat (N, h / 4, w / 4) of the whole image, int32."""
        config = self.model.net.config
        cells = self.image.scaled_down(STRIDE)
        hyper = self.image.scaled_down(STRIDE * HYPER_STRIDE)
        y = np.empty((config.latents, cells.height, cells.width), np.int32)
        z = np.empty((config.hyper, hyper.height, hyper.width), np.int32)
        for index in range(self.header.tile_count):
            box, (tile, _) = Box(*self.header.tile_box(index)), self._decode(index)
            rows, cols = box.scaled_down(STRIDE).slices(cells)
            y[:, rows, cols] = tile.y
            rows, cols = box.scaled_down(STRIDE * HYPER_STRIDE).slices(hyper)
            z[:, rows, cols] = tile.z
        return y, z

    def _decode(self, index: int) -> tuple[TileLatents, Streams]:
        """A tile's latents, and its streams as they are."""
        streams = self.reader.tile(index)
        cells = Box(*self.header.tile_box(index)).scaled_down(STRIDE)
        quality = self.header.quality
        with torch.inference_mode():
            latents = decode_tile(
                self.model, streams[Kind.Z], streams[Kind.Y], quality, cells.height, cells.width
            )
        return latents, streams

    def _cells(self, block: Box) -> Box:
        """The latents that a block of pixels is made of."""
        halo = HALO if self.bound is None else 0
        return block.scaled_down(STRIDE).grown(halo, self.image.scaled_down(STRIDE))

    def _forget(self, row: int) -> None:
        """Drops the tiles that no block from this row of pixels on can see."""
        for index in list(self._tiles):
            if Box(*self.header.tile_box(index)).bottom <= row - HALO * STRIDE:
                del self._tiles[index]
                self._alphas.pop(index, None)
                self._exact.pop(index, None)

    def _gather(self, cells: Box) -> np.ndarray:
        """y-hat of a box of latents, from the tiles that it touches: int32 (M, h, w)."""
        y = np.empty((self.model.net.config.latents, cells.height, cells.width), np.int32)
        for part in cells.blocks(self.side):
            index = self._tile_index(part)
            if index not in self._tiles:
                latents, streams = self._decode(index)
                self._tiles[index] = latents.y, streams
            tile = Box(*self.header.tile_box(index)).scaled_down(STRIDE)
            target_rows, target_cols = part.slices(cells)
            rows, cols = part.slices(tile)
            y[:, target_rows, target_cols] = self._tiles[index][0][:, rows, cols]
        return y

    def _tile_index(self, cells: Box) -> int:
        return cells.row // self.side * self.header.tile_columns + cells.col // self.side

    @torch.inference_mode()
    def _synthesise(self, block: Box) -> np.ndarray:
        """Pixels of a block, alpha left out: uint8 (h, w, 1 or 3)."""
        outer = self._cells(block)
        y_hat = torch.from_numpy(self._gather(outer))[None].to(self.model.device)
        x = synthesise(self.model, y_hat, self.header.quality)
        rows, cols = block.slices(outer.scaled_up(STRIDE))
        x = x[0, :, rows, cols]
        if BANDS[self.header.mode] < 3:
            x = x.mean(0, keepdim=True)
        x = (x * 255).round().clamp(0, 255).to(torch.uint8)
        return x.permute(1, 2, 0).contiguous().cpu().numpy()

    def _exactly(self, block: Box) -> np.ndarray:
        """As :meth:`_synthesise`, from the base images and residuals: the same on every device."""
        self._gather(self._cells(block))
        pixels = np.empty(
            (block.height, block.width, 3 if BANDS[self.header.mode] >= 3 else 1), np.uint8
        )
        for part in block.blocks(self.header.tile):
            index = self._tile_index(part.scaled_down(STRIDE))
            tile = Box(*self.header.tile_box(index))
            if index not in self._exact:
                self._exact[index] = self._exact_tile(index, tile)
            target_rows, target_cols = part.slices(block)
            rows, cols = part.slices(tile)
            pixels[target_rows, target_cols] = self._exact[index][rows, cols]
        return pixels

    def _exact_tile(self, index: int, tile: Box) -> np.ndarray:
        """Colours of a tile whose latents are decoded: uint8 (h, w, 1 or 3)."""
        assert self.bound is not None and self._base is not None
        y_hat, streams = self._tiles[index]
        base = self._base.pixels(y_hat, grey=BANDS[self.header.mode] < 3)
        base = base[: tile.height, : tile.width]
        return decode_residual(streams[Kind.RESIDUAL], base, self.bound)

    def _alpha(self, block: Box) -> np.ndarray:
        """Alpha of a block whose tiles are decoded: uint8 (h, w)."""
        alpha = np.empty((block.height, block.width), np.uint8)
        for part in block.blocks(self.header.tile):
            index = self._tile_index(part.scaled_down(STRIDE))
            tile = Box(*self.header.tile_box(index))
            if index not in self._alphas:
                stream = self._tiles[index][1].get(Kind.ALPHA, b"")
                self._alphas[index] = decode_alpha(stream, tile.height, tile.width)
            target_rows, target_cols = part.slices(block)
            rows, cols = part.slices(tile)
            alpha[target_rows, target_cols] = self._alphas[index][rows, cols]
        return alpha


def synthesise(model: Model, y_hat: Tensor, quality: int) -> Tensor:
    """y-hat (1, M, h, w) in 1/16 step to an image (1, 3, 16 h, 16 w) float32, about 0..1."""
    knots = torch.tensor([quality / QUALITY_STEPS], dtype=torch.float32, device=y_hat.device)
    y = y_hat.float() * (model.net.inverse_gain(knots) / MEAN_UNIT)
    with autocast(model.device):
        x = model.net.synthesis(y.contiguous(memory_format=torch.channels_last))
    if not torch.isfinite(x).all():
        raise FormatError("damaged: the latents do not give an image")
    return x
