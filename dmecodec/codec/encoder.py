"""From pixels to a `.dmen` file, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..base.boxes import Box
from ..base.threads import in_order, torch_threads
from ..bounded.linear import LinearBase
from ..bounded.tile import base_samples, encode_bounded
from ..entropy.lossless import encode_alpha, encode_mask
from ..errors import OptionError
from ..format import writer
from ..format.header import Header
from ..format.kinds import Kind
from ..format.layout import Layout
from ..format.limits import MAX_TILES
from ..images.part import PartOfSource
from ..images.source import Source
from ..network.config import STRIDE
from ..network.knots import knots_of
from ..network.transforms import HALO
from ..restoration.details import NO_FILTER
from ..weights.model import Model
from .analysis import analyse
from .annealing import BLOCK, Annealer
from .fit_filter import fit_filter
from .options import MAX_EFFORT, EncodeOptions
from .pixels import network_pixels
from .tile import encode_tile, has_large_tiles, has_small_tiles

_AT_ONCE = 4
"""Blocks that are annealed beside one another: each takes some 150 MB."""
_KEEP_PIXELS = 1 << 24
"""Latents of images up to this size may be kept between encodes at several qualities."""


@dataclass(frozen=True)
class Encoded:
    """A file, and what it was made of.

    Attributes:
        data: the bytes of the file.
        header: its header.
        layout: its bands.
    """

    data: bytes
    header: Header
    layout: Layout


class Encoder:
    """Encodes one image, at as many qualities as asked for.

    Args:
        source: what to read from.
        model: a loaded model.
        options: tile, effort and a bound on the error; with a target, latents of images up to 16 megapixels are kept
            from one quality to the next.

    Raises:
        OptionError: where the image has too many such tiles for a file.
    """

    def __init__(self, source: Source, model: Model, options: EncodeOptions) -> None:
        self.source, self.model, self.options = source, model, options
        self.max_error, self.effort = options.max_error, options.effort
        # Annealing aims at the image of the whole synthesis, which is not what a bound is kept from.
        anneals = options.effort == MAX_EFFORT and options.max_error is None
        self._annealer = Annealer(model) if anneals else None
        self._bases: dict[int, LinearBase] = {}
        self.image = source.box
        if -(-source.width // options.tile) * -(-source.height // options.tile) > MAX_TILES:
            raise OptionError(f"tiles of {options.tile} pixels are too many for this image; choose larger ones")
        pixels = source.width * source.height * len(source.layout.groups)
        self._keeps = options.has_target and pixels <= _KEEP_PIXELS
        self._kept: dict[tuple[int, int], Tensor] = {}
        self._kept_masks: dict[tuple[int, int], tuple[dict[int, bytes], bool]] = {}

    def encode(self, quality: int, error_weight: float | None = None) -> Encoded:
        """The whole file.

        Args:
            quality: in 1/32 steps.
            error_weight: what an error is worth beside bits, as a factor on what the quality says: less of it makes
                the file smaller. None is what the effort says: 1, or plain rounding.
        """
        if error_weight is None and self.effort > 0:
            error_weight = 1.0
        metadata, layout = self._metadata(), self.source.layout
        kinds = [Kind.Z, Kind.Y, *([Kind.ALPHA] if layout.has_alpha else [])]
        kinds += [Kind.MASK] if layout.has_nodata else []
        kinds += [Kind.RESIDUAL] if self.max_error is not None else []
        header = Header(
            model=self.model.id,
            width=self.source.width,
            height=self.source.height,
            mode=layout.mode,
            quality=quality,
            tile=self.options.tile,
            groups=len(layout.groups),
            kinds=tuple(sorted([*kinds, *metadata])),
            bound=self.max_error,
        )
        with torch_threads(single=has_small_tiles(header)):
            tiles = self._tiles(header, error_weight)
        return Encoded(writer.write(header, tiles, metadata), header, layout)

    def _tiles(self, header: Header, error_weight: float | None) -> list[dict[int, bytes]]:
        """The streams of each tile and group."""
        if self.max_error is not None:
            self._bases.setdefault(header.quality, LinearBase(self.model, header.quality))
        # Annealing takes more memory than the rest, and works on several blocks of a tile itself.
        one_by_one = self._annealer is not None or has_large_tiles(header)
        several = not one_by_one and (header.groups > 1 or self.image.has_several(header.tile))
        tiles: list[dict[int, bytes]] = []
        in_order(
            lambda part: self._tile(part, header, error_weight),
            self._parts(header),
            lambda _, streams: tiles.append(streams),
            self.model.device,
            several=several,
        )
        return tiles

    def _parts(self, header: Header) -> Iterator[_Part]:
        """The tiles and groups in the order of the file, each read when it is asked for."""
        for index in range(header.tile_count):
            for group in range(header.groups):
                box = Box(*header.tile_box(index))
                near = box.grown(HALO * STRIDE, self.image)
                source = self.source if self._annealer is not None else PartOfSource(self.source, near, group)
                yield _Part(index, group, box, source)

    def _metadata(self) -> dict[int, bytes]:
        """The file-scoped streams, by kind."""
        metadata = self.source.metadata
        streams = {Kind.ICC: metadata.icc, Kind.EXIF: metadata.exif, Kind.XMP: metadata.xmp, Kind.GEO: self.source.geo}
        if self.source.mode == "BANDS":
            streams[Kind.BANDS] = self.source.layout.to_bytes()
        return {int(kind): data for kind, data in streams.items() if data}

    @torch.inference_mode()
    def _tile(self, part: _Part, header: Header, error_weight: float | None) -> dict[int, bytes]:
        box, group = part.box, part.group
        masks, empty = self._masks(part)
        # Under alpha 0 colours may be lost, but not where a bound is promised for every sample.
        if empty and (self.max_error is None or self.source.mode == "BANDS"):
            kinds = [k for k in (Kind.Z, Kind.Y, Kind.RESIDUAL) if k in header.kinds]
            return masks | {int(kind): b"" for kind in kinds}
        gain = self.model.net.gain(knots_of(header.quality, self.model.device))
        latents = self._latents(part) * gain
        if self._annealer is not None:
            latents = self._annealed(self._annealer, latents, box, group, header.quality)
        fit = None if self.max_error is not None else partial(self._fitted, part, header.quality)
        z, y, y_hat = encode_tile(self.model, latents, header.quality, error_weight=error_weight, fit=fit)
        streams = {Kind.Z: z, Kind.Y: y, **masks}
        if self.max_error is not None:
            streams[Kind.RESIDUAL] = self._residual(part, y_hat, header.quality)
        return streams

    def _fitted(self, part: _Part, quality: int, y_hat: np.ndarray) -> np.ndarray:
        """The restoration filter of a tile."""
        if self.effort == 0:
            return NO_FILTER
        whole = self.effort == MAX_EFFORT
        return fit_filter(self.model, part.source, part.box, part.group, y_hat, quality, whole)

    def _annealed(self, annealer: Annealer, latents: Tensor, box: Box, group: int, quality: int) -> Tensor:
        """Improves the latents of a tile, block by block."""
        cells = box.scaled_down(STRIDE)
        better, blocks = torch.empty_like(latents), list(box.blocks(BLOCK))
        for i in range(0, len(blocks), _AT_ONCE):
            places, jobs = [], []
            for block in blocks[i : i + _AT_ONCE]:
                rows, cols = block.scaled_down(STRIDE).slices(cells)
                seen = block.clipped(self.image)
                pixels, _ = network_pixels(self.source, seen, group, self.model.device)
                places.append((rows, cols))
                jobs.append((pixels, latents[:, :, rows, cols]))
            for (rows, cols), part in zip(places, annealer.improve_all(jobs, quality), strict=True):
                better[:, :, rows, cols] = part
        return better

    def _residual(self, part: _Part, y_hat: np.ndarray, quality: int) -> bytes:
        """The RESIDUAL stream of a tile."""
        assert self.max_error is not None
        source, box, group = part.source, part.box, part.group
        base = base_samples(self._bases[quality], y_hat, source.layout, group)[: box.height, : box.width]
        samples = source.samples(box, group)
        valid = source.valid(box, samples, group) if source.mode == "BANDS" else None
        return encode_bounded(samples, valid, base, source.layout, group, self.max_error)

    def _masks(self, part: _Part) -> tuple[dict[int, bytes], bool]:
        """ALPHA and MASK streams of a tile, and whether it is empty: the same at every quality."""
        key = part.index, part.group
        if key not in self._kept_masks:
            masks = encode_masks(part.source, part.box, part.group)
            if not self._keeps:
                return masks
            self._kept_masks[key] = masks
        return self._kept_masks[key]

    def _latents(self, part: _Part) -> Tensor:
        """Latents of a tile before any gain: (1, M, h, w) float32."""
        key = part.index, part.group
        if key not in self._kept:
            y = analyse(self.model, part.source, part.box, part.group)
            if not self._keeps:
                return y
            self._kept[key] = y
        return self._kept[key]


@dataclass(frozen=True)
class _Part:
    """One group of one tile: what is coded at a time.

    Attributes:
        index, group: which.
        box: the pixels of the tile.
        source: the image, or as much of it as the tile's streams depend on.
    """

    index: int
    group: int
    box: Box
    source: Source


def encode_masks(source: Source, box: Box, group: int) -> tuple[dict[int, bytes], bool]:
    """The lossless streams of a tile and group, and whether the tile is empty.

    It is empty where nothing is valid, neither in the tile nor within the reach of its latents around it.
    """
    layout = source.layout
    if not (layout.has_alpha or layout.has_nodata):
        return {}, False
    near = box.grown(HALO * STRIDE, source.box)
    samples = source.samples(near, group)
    valid = source.valid(near, samples, group)
    streams: dict[int, bytes] = {}
    if layout.has_alpha:
        alpha = source.alpha(box) if group == 0 else None
        streams[Kind.ALPHA] = b"" if alpha is None else encode_alpha(np.ascontiguousarray(alpha))
    if layout.has_nodata:
        rows, cols = box.slices(near)
        streams[Kind.MASK] = encode_mask(source.not_nodata(samples[rows, cols], group))
    return streams, valid is not None and not valid.any()
