"""Where everything stands in a virtual GeoTIFF: directories at its head, then tiles of fixed sizes.

GDAL writes the first directory, of a file without pixels. Overviews and masks have a few fields of it. As in a Cloud
Optimized GeoTIFF, the smallest overview stands first.
"""

from __future__ import annotations

import bisect
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.boxes import MAX_REDUCE, Box
from ..format.geo import GeoRecord
from ..format.layout import Alpha, Layout
from ..images.cog import BLOCK, write_empty
from ..images.metadata import Metadata
from .directory import Directory, Tag, first_directory, laid_out, long, numbers, short

_AHEAD = 1 << 16
"""The tiles begin at a multiple of it, so that readers that fetch more than the head do not have a tile decoded."""
_MAX_CLASSIC = 2**32 - 1
_IMAGE, _MASK = 1, 4
"""Bits of the tag SUBFILE_TYPE: a reduced image, a mask."""
_OF_OVERVIEW = (
    Tag.BITS,
    Tag.COMPRESSION,
    Tag.PHOTOMETRIC,
    Tag.SAMPLES,
    Tag.PLANAR,
    Tag.TILE_WIDTH,
    Tag.TILE_LENGTH,
    Tag.EXTRA_SAMPLES,
    Tag.SAMPLE_FORMAT,
    Tag.GDAL_NODATA,
)


@dataclass(frozen=True)
class Level:
    """An image of the file, or a mask: its tiles stand one after the other.

    Attributes:
        power: one pixel in 2^power of the whole image.
        width, height: in its own pixels.
        is_mask: whether it is the mask of that image, of one bit a pixel.
        tile_bytes: of each tile.
        start: where the first tile stands in the file.
    """

    power: int
    width: int
    height: int
    is_mask: bool
    tile_bytes: int
    start: int = 0

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return -(-self.width // BLOCK)

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.columns * -(-self.height // BLOCK)

    @property
    def size(self) -> int:
        """Bytes of all tiles."""
        return self.count * self.tile_bytes

    def box(self, tile: int) -> Box:
        """The pixels of a tile."""
        row, col = divmod(tile, self.columns)
        whole = Box(0, 0, self.width, self.height)
        return Box(col * BLOCK, row * BLOCK, BLOCK, BLOCK).clipped(whole)


@dataclass(frozen=True)
class Plan:
    """A whole virtual file.

    Attributes:
        head: its first bytes, the directories.
        levels: in the order in which their tiles stand.
        size: bytes of the file.
    """

    head: bytes
    levels: tuple[Level, ...]
    size: int

    def level_at(self, offset: int) -> Level:
        """The level with the byte at an offset behind the head."""
        return self.levels[bisect.bisect_right([level.start for level in self.levels], offset) - 1]


def make_plan(width: int, height: int, layout: Layout, record: GeoRecord, metadata: Metadata) -> Plan:
    """The plan of an image of this size.

    Raises:
        OutputError: a GeoTIFF cannot hold it.
        FormatError: the record makes no sense.
    """
    with tempfile.TemporaryDirectory(prefix="dmecodec-") as folder:
        path = Path(folder) / "empty.tif"
        write_empty(layout, Box(0, 0, width, height), record, metadata, path)
        first = first_directory(path.read_bytes())
    levels = _levels(width, height, layout)
    for big in (False, True):
        head = _head(first, levels, big=big)  # its length does not depend on where the tiles stand
        levels = _placed(levels, -(-len(head) // _AHEAD) * _AHEAD)
        size = max(level.start + level.size for level in levels)
        if size <= _MAX_CLASSIC:
            break
    return Plan(_head(first, levels, big=big), tuple(sorted(levels, key=lambda level: level.start)), size)


def _levels(width: int, height: int, layout: Layout) -> list[Level]:
    """The whole image and its overviews, each followed by its mask."""
    levels = []
    for power in range(MAX_REDUCE + 1):
        size = Box(0, 0, width, height).scaled_down(1 << power)
        levels.append(Level(power, size.width, size.height, False, BLOCK * BLOCK * layout.raw_bytes))
        if layout.alpha is Alpha.MASK:
            levels.append(Level(power, size.width, size.height, True, BLOCK * BLOCK // 8))
        if max(size.width, size.height) <= BLOCK:
            break
    return levels


def _placed(levels: list[Level], start: int) -> list[Level]:
    placed = []
    for level in reversed(levels):
        placed.append(Level(level.power, level.width, level.height, level.is_mask, level.tile_bytes, start))
        start += level.size
    return placed[::-1]


def _head(first: Directory, levels: list[Level], *, big: bool) -> bytes:
    return laid_out([_directory(first, level, big=big) for level in levels], big=big)


def _directory(first: Directory, level: Level, *, big: bool) -> Directory:
    tiles = np.arange(level.count, dtype=np.uint64) * np.uint64(level.tile_bytes) + np.uint64(level.start)
    fields: Directory = {
        Tag.WIDTH: long(level.width),
        Tag.LENGTH: long(level.height),
        Tag.TILE_OFFSETS: numbers(tiles, big=big),
        Tag.TILE_BYTE_COUNTS: numbers(np.full(level.count, level.tile_bytes), big=False),
    }
    if level.is_mask:
        fields |= {Tag.BITS: short(1), Tag.COMPRESSION: short(1), Tag.PHOTOMETRIC: short(4), Tag.SAMPLES: short(1)}
        fields |= {Tag.PLANAR: short(1), Tag.TILE_WIDTH: short(BLOCK), Tag.TILE_LENGTH: short(BLOCK)}
        fields |= {Tag.SUBFILE_TYPE: long(_MASK | (_IMAGE if level.power else 0))}
        return fields
    if not level.power:
        return first | fields
    own: Directory = {tag: first[tag] for tag in _OF_OVERVIEW if tag in first}
    return own | {Tag.SUBFILE_TYPE: long(_IMAGE)} | fields
