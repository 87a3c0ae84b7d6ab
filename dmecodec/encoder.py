"""From pixels to a `.dmen` file, tile by tile."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import container
from .alpha import encode_alpha
from .codec import encode_tile_and_latents
from .container import Header, Kind
from .device import autocast
from .images import Source
from .linear import LinearBase
from .network.config import QUALITY_STEPS, STRIDE
from .network.transforms import HALO
from .residual_fit import encode_residual
from .tiling import Box
from .weights import Model

_KEEP_PIXELS = 1 << 24
"""Latents of images up to this size may be kept between encodes at several qualities."""


class Encoder:
    """Encodes one image, at as many qualities as asked for.

    Args:
        source: what to read from.
        model: a loaded model.
        tile: side of a tile in pixels, a multiple of 64.
        keep: whether to keep the latents for another quality, where the image is not too large.
        max_error: levels that a decoded sample may be off, or None for no bound.
    """

    def __init__(
        self,
        source: Source,
        model: Model,
        tile: int,
        *,
        keep: bool = False,
        max_error: int | None = None,
    ) -> None:
        self.max_error = max_error
        self._bases: dict[int, LinearBase] = {}
        self.source, self.model, self.tile = source, model, tile
        self.image = Box(0, 0, source.width, source.height)
        self.keep = keep and source.width * source.height <= _KEEP_PIXELS
        self._kept: dict[int, Tensor] = {}
        self._kept_alpha: dict[int, bytes] = {}

    def encode(self, quality: int) -> bytes:
        """The whole file at a quality in 1/32 steps."""
        metadata = self._metadata()
        if self.max_error is not None:
            metadata[int(Kind.BOUND)] = container.bound_stream(self.max_error)
        kinds = [Kind.Z, Kind.Y, *([Kind.ALPHA] if self.source.mode in ("LA", "RGBA") else [])]
        kinds += [] if self.max_error is None else [Kind.RESIDUAL]
        header = Header(
            model=self.model.id,
            width=self.source.width,
            height=self.source.height,
            mode=self.source.mode,
            quality=quality,
            tile=self.tile,
            kinds=tuple(sorted([*kinds, *metadata])),
        )
        tiles = [self._tile(header, index) for index in range(header.tile_count)]
        return container.write(header, tiles, metadata)

    def _metadata(self) -> dict[int, bytes]:
        kept = self.source.metadata
        found = {Kind.ICC: kept.icc, Kind.EXIF: kept.exif, Kind.XMP: kept.xmp}
        return {int(kind): data for kind, data in found.items() if data}

    @torch.inference_mode()
    def _tile(self, header: Header, index: int) -> dict[int, bytes]:
        box = Box(*header.tile_box(index))
        gain = self.model.net.gain(_knots(header.quality, self.model.device))
        latents = self._latents(index, box) * gain
        z, y, y_hat = encode_tile_and_latents(self.model, latents, header.quality)
        streams = {int(Kind.Z): z, int(Kind.Y): y}
        if self.max_error is not None:
            streams[int(Kind.RESIDUAL)] = self._residual(box, y_hat, header.quality)
        if Kind.ALPHA in header.kinds:
            streams[int(Kind.ALPHA)] = self._alpha(index, box)
        return streams

    def _residual(self, box: Box, y_hat: np.ndarray, quality: int) -> bytes:
        """What brings a tile's base image to within the bound."""
        assert self.max_error is not None
        pixels = self.source.read(box.col, box.row, box.width, box.height)
        colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
        if quality not in self._bases:
            self._bases[quality] = LinearBase(self.model, quality)
        base = self._bases[quality].pixels(y_hat, grey=colours.shape[2] == 1)
        return encode_residual(colours, base[: box.height, : box.width], self.max_error)

    def _alpha(self, index: int, box: Box) -> bytes:
        """The alpha stream of a tile, the same at every quality."""
        if index not in self._kept_alpha:
            pixels = self.source.read(box.col, box.row, box.width, box.height)
            stream = encode_alpha(np.ascontiguousarray(pixels[..., -1]))
            if not self.keep:
                return stream
            self._kept_alpha[index] = stream
        return self._kept_alpha[index]

    def _latents(self, index: int, box: Box) -> Tensor:
        """Latents of a tile before any gain: (1, M, h, w) float32."""
        if index not in self._kept:
            y = analyse(self.model, self.source, box)
            if not self.keep:
                return y
            self._kept[index] = y
        return self._kept[index]


def _knots(quality: int, device: torch.device) -> Tensor:
    return torch.tensor([quality / QUALITY_STEPS], dtype=torch.float32, device=device)


def analyse(model: Model, source: Source, box: Box) -> Tensor:
    """Latents of a box of pixels that begins on the grid of latents: (1, M, h, w) float32."""
    image = Box(0, 0, source.width, source.height)
    tile = box.scaled_down(STRIDE)
    shape = (1, model.net.config.latents, tile.height, tile.width)
    y = torch.empty(shape, dtype=torch.float32, device=model.device)
    for block in box.blocks():
        inner = block.scaled_down(STRIDE)
        outer = inner.grown(HALO, image.scaled_down(STRIDE))
        pixels = _pixels(source, outer.scaled_up(STRIDE).clipped(image), model.device)
        with autocast(model.device):
            latents = model.net.analysis(pixels)
        rows, cols = inner.slices(outer)
        target_rows, target_cols = inner.slices(tile)
        y[:, :, target_rows, target_cols] = latents[:, :, rows, cols]
    return y


def _pixels(source: Source, box: Box, device: torch.device) -> Tensor:
    """Colours of a box in 0..1, grey three times, the image's last row and column repeated to a
    multiple of 16: float32 (1, 3, h, w), channels last."""
    pixels = source.read(box.col, box.row, box.width, box.height)
    colours = pixels[..., :3] if pixels.shape[2] >= 3 else pixels[..., :1]
    x = torch.from_numpy(np.ascontiguousarray(colours)).to(device)
    x = x.permute(2, 0, 1)[None].float() / 255
    x = F.pad(x, (0, -box.width % STRIDE, 0, -box.height % STRIDE), mode="replicate")
    return x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
