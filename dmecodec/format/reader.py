"""Reading a file: the header at once, the chunks on demand."""

from __future__ import annotations

import zlib
from itertools import accumulate
from typing import BinaryIO

from ..errors import FormatError
from .bound import parse_bound
from .checksum import CRC_BYTES, damaged, holds_to_the_end, without_crc
from .fields import Fields
from .header import Header
from .index import chunk_count, chunk_offsets, parse_header, parse_index
from .kinds import KNOWN_KINDS, Kind, kind_name
from .limits import MAGIC, MAX_HEADER_LENGTH, VERSION
from .storage import Source, source_of


class Reader:
    """A file whose header is read and checked at once and whose chunks are read on demand.

    When this returns without an error, the header's checksum holds, every field is within its
    limits, and the data is exactly as long as the index says. A chunk's checksum is compared
    whenever the chunk is read. Every method may be called from several threads at a time.

    Args:
        source: The whole file as bytes, or a seekable binary file that stays open and that nobody
            else moves while this Reader is in use. Of a file, only what is asked for is read; one of a single chunk is
            read once as a whole, for its checksum.

    Attributes:
        version: Of the format that the file is in.
        header: The header's fields.
        size: Length of the whole file in bytes.

    Raises:
        FormatError: Not a `.dmen` file, of a newer version, damaged or truncated.
    """

    version: int
    header: Header
    size: int

    def __init__(self, source: bytes | bytearray | memoryview | BinaryIO) -> None:
        self._source = source_of(source)
        self.size = self._source.size
        self.version = _read_version(self._source)
        start, length, alone = _read_header_length(self._source, self.version)
        if alone:
            self._read_at_once(start, length)
        else:
            self._crc = 0  # of what a chunk's checksum covers before the chunk
            header = self._source.read(0, start + length + CRC_BYTES)
            self._parse(without_crc(header, "the header")[start:], len(header), alone)

    def _read_at_once(self, start: int, length: int) -> None:
        """A file of one chunk, which has one checksum. Until it is compared only a wrong size is told of."""
        header = self._source.read(0, start + length)
        self._crc = zlib.crc32(header)
        wrong = None
        try:
            self._parse(header[start:], len(header), alone=True)
        except _WrongSizeError:
            raise
        except FormatError as error:
            wrong = error
        if not holds_to_the_end(self._source, len(header), self._crc):
            raise damaged("the file")
        if wrong is not None:
            raise wrong

    def _parse(self, body: bytes, start: int, alone: bool) -> None:
        """All that the header says; chunks begin at `start`."""
        fields = Fields(body)
        self.header = parse_header(fields, self.version)
        if self.version >= 4 and alone != (chunk_count(self.header) == 1):
            raise FormatError("the header is wrong on whether there is one chunk")
        self._lengths = parse_index(fields, self.header)
        self._offsets = chunk_offsets(self.header, self._lengths, start)
        _check_size(self._offsets[-1], self.size)

    @property
    def stream_sizes(self) -> dict[int, int]:
        """Bytes that each kind of stream takes in the whole file, unknown kinds included."""
        tile_kinds, file_kinds = self.header.tile_kinds, self.header.file_kinds
        of_tiles = self._lengths[: len(self._lengths) - len(file_kinds)]
        sizes = {kind: sum(of_tiles[n :: len(tile_kinds)]) for n, kind in enumerate(tile_kinds)}
        sizes.update(zip(file_kinds, self._lengths[len(of_tiles) :], strict=True))
        return sizes

    def tile(self, index: int, group: int = 0) -> dict[int, bytes]:
        """Read the streams of one tile.

        Args:
            index: Tile in row-major order.
            group: Band group.

        Returns:
            The tile's streams by kind, without ancillary kinds that are not defined.

        Raises:
            IndexError: There is no such tile or group.
            FormatError: The chunk is damaged or cut short.
        """
        if not (0 <= index < self.header.tile_count and 0 <= group < self.header.groups):
            raise IndexError(f"no tile {index} with group {group}")
        chunk = index * self.header.groups + group
        payload = self._chunk(chunk)
        kinds = self.header.tile_kinds
        lengths = self._lengths[chunk * len(kinds) : (chunk + 1) * len(kinds)]
        ends = list(accumulate(lengths))
        return {
            kind: payload[end - length : end]
            for kind, length, end in zip(kinds, lengths, ends, strict=True)
            if kind in KNOWN_KINDS
        }

    @property
    def filtered(self) -> bool:
        """Whether every Y stream ends with a restoration filter, or word that there is none."""
        return self.version >= 3 and Kind.RESIDUAL not in self.header.kinds

    @property
    def stacked(self) -> bool:
        """Whether Z and Y of a tile are one stack of words, cut in two."""
        return self.version >= 4

    def bound(self) -> int | None:
        """How many levels a decoded sample may be from the original, where the file says it.

        Raises:
            FormatError: The chunk is damaged, cut short or no bound.
        """
        kinds = self.header.file_kinds
        if Kind.BOUND not in kinds:
            return self.header.bound
        first = self.header.tile_count * self.header.groups
        return parse_bound(self._chunk(first + kinds.index(Kind.BOUND)))

    def metadata(self) -> dict[int, bytes]:
        """Read the file-scoped streams of the kinds that are defined, by kind.

        Raises:
            FormatError: A chunk is damaged or cut short.
        """
        first = self.header.tile_count * self.header.groups
        return {kind: self._chunk(first + n) for n, kind in enumerate(self.header.file_kinds) if kind in KNOWN_KINDS}

    def file_stream(self, kind: int) -> bytes:
        """Read the one stream of a file-scoped kind that the file has.

        Raises:
            FormatError: The chunk is damaged or cut short.
        """
        first = self.header.tile_count * self.header.groups
        return self._chunk(first + self.header.file_kinds.index(kind))

    def verify(self) -> None:
        """Read every chunk and compare its checksum, unknown kinds included.

        Raises:
            FormatError: Names the first chunk that is damaged or cut short.
        """
        for chunk in range(len(self._offsets) - 1):
            self._chunk(chunk)

    def _chunk(self, chunk: int) -> bytes:
        start, end = self._offsets[chunk], self._offsets[chunk + 1]
        data = self._source.read(start, end - start)
        return without_crc(data, self._chunk_name(chunk), self._crc)

    def _chunk_name(self, chunk: int) -> str:
        of_tiles = self.header.tile_count * self.header.groups
        if chunk < of_tiles:
            return f"tile {chunk // self.header.groups}"
        kind = self.header.file_kinds[chunk - of_tiles]
        return "the BOUND" if kind == Kind.BOUND else f"the {kind_name(kind)} metadata"


class _WrongSizeError(FormatError):
    """The file is shorter or longer than its header says."""


def _read_version(source: Source) -> int:
    magic = source.read(0, min(len(MAGIC), source.size))
    if not magic:
        raise FormatError("the file is empty")
    if not MAGIC.startswith(magic):
        raise FormatError("not a .dmen file")
    version = source.read(len(MAGIC), 1)[0]
    if version > VERSION:
        raise FormatError(
            f"made by a newer dmecodec (format version {version}, this one reads up to {VERSION}); please upgrade"
        )
    if version < 1:
        raise FormatError(f"no such format version: {version}")
    return version


def _read_header_length(source: Source, version: int) -> tuple[int, int, bool]:
    """Offset and length of the header's body and whether the file has one chunk, before any checksum is compared."""
    start = len(MAGIC) + 1
    encoded = b""
    while not encoded or (encoded[-1] & 0x80 and len(encoded) < 5):
        encoded += source.read(start + len(encoded), 1)
    fields, name = Fields(encoded), "length of the header"
    start += len(encoded)
    if version < 4:
        return start, fields.varint(name, MAX_HEADER_LENGTH), False
    length, alone = divmod(fields.varint(name, 2 * MAX_HEADER_LENGTH + 1), 2)
    return start, length, bool(alone)


def _check_size(expected: int, actual: int) -> None:
    if actual < expected:
        raise _WrongSizeError(f"the file is truncated: it has {actual} of {expected} bytes")
    if actual > expected:
        raise _WrongSizeError(f"{actual - expected} bytes follow the end of the image at {expected}")
