"""The container, read from docs/format.md alone: header, options, index, chunks.

It shares no code with the package. `RefusedError` is what the page calls "refuse the file".
"""

from __future__ import annotations

import zlib
from itertools import accumulate, pairwise
from pathlib import Path

Z, Y, ALPHA, MASK, RESIDUAL = 0x01, 0x02, 0x03, 0x04, 0x05
BANDS, ICC, EXIF, XMP, GEO = 0x41, 0xC1, 0xC2, 0xC3, 0xC4
KINDS = {Z, Y, ALPHA, MASK, RESIDUAL, BANDS, ICC, EXIF, XMP, GEO}
MODES = ("L", "LA", "RGB", "RGBA", "BANDS")
Box = tuple[int, int, int, int]


class RefusedError(Exception):
    """The page says that a reader refuses such a file."""


def require(condition: bool, reason: str) -> None:
    if not condition:
        raise RefusedError(reason)


class Bytes:
    """Bytes that are read from the front to the end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        require(count <= self.left, "ends within a field")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self, limit: int = 2**32 - 1) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value += byte % 128 << shift
            require(value <= limit, "a varint above its limit")
            shift += 7
            if byte < 128:
                break
            require(2**shift <= limit, "a varint of too many bytes")
        require(byte != 0 or shift == 7, "a varint that is not the shortest")
        return value


class Container:
    """A whole file: the fields of its header, and its streams.

    Attributes:
        model, width, height, mode, quality: fields of the header.
        side, kinds, groups, bound: options, or what holds without them.
        tiles: for each tile, for each group: streams by kind, those that the page does not define left out.
        files: file-scoped streams by kind, likewise.
    """

    def __init__(self, data: bytes) -> None:
        require(data[:4] == b"\x89DMN", "another magic")
        require(data[4:5] == b"\1", "another version")
        fields = Bytes(data, 5)
        length = fields.varint(2**26)
        end = fields.at + length
        require(end + 4 <= len(data), "truncated")
        check_crc(data[: end + 4])
        self._parse(Bytes(data[:end], fields.at))
        self.tiles: list[list[dict[int, bytes]]] = []
        self.files: dict[int, bytes] = {}
        self._cut(data, end + 4)

    def _parse(self, fields: Bytes) -> None:
        self.model = fields.take(8)
        self.width, self.height = fields.varint(), fields.varint()
        for side in (self.width, self.height):
            require(1 <= side <= 2**24 - 1, "no such side")
        require(self.width * self.height <= 2**36, "too many pixels")
        mode, self.quality = fields.take(2)
        require(mode <= 4 and self.quality <= 224, "no such mode or quality")
        self.mode = MODES[mode]
        self._parse_options(fields)
        self.columns, self.rows = -(-self.width // self.side), -(-self.height // self.side)
        require(self.columns * self.rows <= 2**20, "too many tiles")
        self._check_kinds()
        self.tile_kinds = [kind for kind in self.kinds if not kind & 0x40]
        self.file_kinds = [kind for kind in self.kinds if kind & 0x40]
        self.chunks = self.columns * self.rows * self.groups
        entries = self.chunks * len(self.tile_kinds) + len(self.file_kinds)
        require(entries <= fields.left, "no room for the index")
        self.lengths = [fields.varint(2**40) for _ in range(entries)]
        require(not fields.left, "bytes after the index")

    def _parse_options(self, fields: Bytes) -> None:
        self.side, self.kinds, self.groups = 1024, [Z, Y], 1
        self.bound: int | None = None
        previous = -1
        for _ in range(fields.varint(255)):
            tag = fields.take(1)[0]
            require(tag > previous, "options out of order")
            previous = tag
            value = Bytes(fields.take(fields.varint()))
            if tag == 1:
                self.side = 64 * value.varint(64)
            elif tag == 2:
                self.kinds += value.take(value.left)
            elif tag == 3:
                self.groups = value.varint(64)
            elif tag == 4:
                self.bound = value.varint(2**15 - 1)
            else:
                require(tag >= 128, "needs a newer reader")
                continue
            require(not value.left, "bytes after the value of an option")
        require(self.side > 0 and self.groups > 0, "no such tile or number of groups")

    def _check_kinds(self) -> None:
        require(all(a < b for a, b in pairwise(self.kinds)), "kinds out of order")
        require(all(kind in KINDS or kind >= 128 for kind in self.kinds), "needs a newer reader")
        bands = self.mode == "BANDS"
        require(bands or self.groups == 1, "groups outside mode BANDS")
        require((BANDS in self.kinds) == bands and (bands or MASK not in self.kinds), "BANDS or MASK")
        require(bands or (ALPHA in self.kinds) == self.mode.endswith("A"), "ALPHA")
        require((RESIDUAL in self.kinds) == (self.bound is not None), "RESIDUAL and BOUND")

    def _cut(self, data: bytes, at: int) -> None:
        width = len(self.tile_kinds)
        kinds = [self.tile_kinds] * self.chunks + [[kind] for kind in self.file_kinds]
        counts = [width] * self.chunks + [1] * len(self.file_kinds)
        starts = [0, *accumulate(counts)]
        parts = [self.lengths[a:b] for a, b in pairwise(starts)]
        require(at + sum(self.lengths) + 4 * len(parts) == len(data), "truncated, or bytes after the end")
        chunks = []
        for lengths, names in zip(parts, kinds, strict=True):
            payload = check_crc(data[at : at + sum(lengths) + 4])
            at += len(payload) + 4
            ends = list(accumulate(lengths))
            streams = zip(names, [payload[b - n : b] for b, n in zip(ends, lengths, strict=True)], strict=True)
            chunks.append({kind: stream for kind, stream in streams if kind in KINDS})
        for first in range(0, self.chunks, self.groups):
            self.tiles.append(chunks[first : first + self.groups])
        for chunk in chunks[self.chunks :]:
            self.files |= chunk

    def box(self, index: int) -> Box:
        """Column, row, width and height of a tile."""
        row, col = index // self.columns * self.side, index % self.columns * self.side
        return col, row, min(self.side, self.width - col), min(self.side, self.height - row)

    @property
    def has_filters(self) -> bool:
        """Whether a Y stream ends with a restoration filter."""
        return RESIDUAL not in self.kinds


def check_crc(data: bytes) -> bytes:
    """The data before its CRC-32."""
    require(zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "a wrong CRC-32")
    return data[:-4]


def read(path: Path) -> Container:
    return Container(path.read_bytes())
