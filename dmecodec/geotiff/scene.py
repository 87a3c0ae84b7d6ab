"""An open `.dmen` file behind a virtual GeoTIFF: decodes its tiles, and keeps those that were used last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..base.boxes import Box
from ..base.cache import BoundedCache
from ..base.remote import is_url
from ..file import File
from ..format.geo import GeoRecord
from ..format.layout import Alpha
from ..images.cog import BLOCK
from .plan import Plan, make_plan

_MIB = 1 << 20
_pixels: BoundedCache[Any, tuple[np.ndarray, np.ndarray]] = BoundedCache(128 * _MIB)
_scenes: BoundedCache[Any, Scene] = BoundedCache(64)
"""By path, time and size."""


class Scene:
    """One file as the tiles of a GeoTIFF. Every method may be called from several threads.

    Args:
        file: the open file, which nobody closes while the scene is in use.

    Attributes:
        file: the same.
        plan: where everything stands.

    Raises:
        FormatError, OutputError, DependencyError: as :meth:`dmecodec.File.save`.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        file.keep_tiles()
        header = file.header
        self.plan: Plan = make_plan(header.width, header.height, file.layout, file.geo or GeoRecord(), file.metadata)

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes, fewer only at the end of the file.

        Raises:
            FormatError, ModelError: the tiles under them cannot be decoded.
        """
        parts, end = [], min(offset + count, self.plan.size)
        while offset < end:
            part = self._part(offset, end - offset)
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _part(self, offset: int, count: int) -> bytes:
        """Between 1 and `count` bytes: to the end of the head, or of a tile, at most."""
        start = self.plan.levels[0].start
        if offset < start:
            return self.plan.head[offset : offset + count].ljust(min(count, start - offset), b"\0")
        level = self.plan.level_at(offset)
        tile, within = divmod(offset - level.start, level.tile_bytes)
        image, mask = self.tile(level.power, tile)
        data = (mask if level.is_mask else image).reshape(-1).view(np.uint8)
        return data[within : within + count].tobytes()

    def tile(self, power: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """A tile of one pixel in 2^power, filled up with zeros.

        Returns:
            The bands of the image, little-endian (512, 512, bands), and the mask, a bit for each pixel, uint8 (512,
            64), or (0,) without one.

        Raises:
            FormatError, ModelError: as :meth:`read`.
        """
        return _pixels.get(
            (self, power, tile), lambda: self._decoded(power, tile), lambda both: both[0].nbytes + both[1].nbytes
        )

    def box(self, power: int, tile: int) -> Box:
        """The pixels of a tile, in those of its level."""
        return next(level for level in self.plan.levels if level.power == power).box(tile)

    def _decoded(self, power: int, tile: int) -> tuple[np.ndarray, np.ndarray]:
        box = self.box(power, tile)
        whole = Box(0, 0, self.file.header.width, self.file.header.height)
        window = box.scaled_up(1 << power).clipped(whole)
        planes, layout = self.file.planes((window.col, window.row, window.width, window.height), reduce=power)
        image = np.zeros((BLOCK, BLOCK, layout.image_bands), planes.dtype.newbyteorder("<"))
        image[: box.height, : box.width] = planes[..., : layout.image_bands]
        if layout.alpha is not Alpha.MASK:
            return image, np.zeros(0, np.uint8)
        mask = np.zeros((BLOCK, BLOCK), bool)
        mask[: box.height, : box.width] = planes[..., -1] > 0
        return image, np.packbits(mask, axis=1)


def scene_of(path: str) -> Scene:
    """The scene of a file, the same for all that ask for it until the file changes. A URL is opened once.

    Raises:
        FileNotFoundError, FormatError, OutputError, DependencyError: as :class:`Scene`.
    """
    if is_url(path):
        return _scenes.get((path,), lambda: Scene(File(path)), lambda _: 1)
    full = Path(path).resolve()
    state = full.stat()
    key = os.fspath(full), state.st_mtime_ns, state.st_size, state.st_ino
    return _scenes.get(key, lambda: Scene(File(full)), lambda _: 1)
