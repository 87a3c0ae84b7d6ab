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
from .plan import Level, Plan, make_plan

_MIB = 1 << 20
_pixels: BoundedCache[Any, tuple[bytes, bytes]] = BoundedCache(192 * _MIB)
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
        header, self._layout = file.header, file.layout
        self.plan: Plan = make_plan(header.width, header.height, self._layout, file.geo or GeoRecord(), file.metadata)

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
        return self.tile(level, tile)[within : within + count]

    def tile(self, level: Level, tile: int) -> bytes:
        """The bytes of a tile of a level.

        Raises:
            FormatError, ModelError: as :meth:`read`.
        """
        image, mask = _pixels.get(
            (self, level.power, tile), lambda: self._decoded(level, tile), lambda both: len(both[0]) + len(both[1])
        )
        return mask if level.is_mask else image

    def _decoded(self, level: Level, tile: int) -> tuple[bytes, bytes]:
        """The pixels of a tile and their mask, filled up with zeros."""
        box = level.box(tile)
        whole = Box(0, 0, self.file.header.width, self.file.header.height)
        window = box.scaled_up(1 << level.power).clipped(whole)
        planes, layout = self.file.planes((window.col, window.row, window.width, window.height), reduce=level.power)
        square = np.zeros((BLOCK, BLOCK, layout.planes), planes.dtype.newbyteorder("<"))
        square[: box.height, : box.width] = planes
        if layout.alpha is not Alpha.MASK:
            return square.tobytes(), b""
        return square[..., :-1].tobytes(), np.packbits(square[..., -1] > 0, axis=1).tobytes()


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
