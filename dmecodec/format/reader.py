"""Reading a file: the header at once, the chunks on demand."""

from __future__ import annotations

from itertools import accumulate
from typing import BinaryIO

from ..errors import FormatError
from .checksum import CRC_BYTES, without_crc
from .fields import Fields
from .header import Header
from .index import chunk_offsets, parse_body, parse_index
from .kinds import KNOWN_KINDS, kind_name
from .limits import MAGIC, MAGIC_BEFORE_RELEASE, MAX_HEADER_LENGTH, VERSION
from .storage import Storage, storage_of


class Reader:
    """A file whose header is read and checked at once and whose chunks are read on demand.

    When this returns without an error, the header's checksum holds, every field is within its
    limits, and the data is exactly as long as the index says. A chunk's checksum is compared
    whenever the chunk is read. Every method may be called from several threads at a time.

    Args:
        source: The whole file as bytes, or a seekable binary file that stays open and that nobody
            else moves while this Reader is in use. Only what is asked for is read.

    Attributes:
        header: The header's fields.
        size: Length of the whole file in bytes.

    Raises:
        FormatError: Not a `.dmen` file, of a newer version, damaged or truncated.
    """

    header: Header
    size: int

    def __init__(self, source: bytes | bytearray | memoryview | BinaryIO) -> None:
        self._storage = storage_of(source)
        self.size = self._storage.size
        _check_version(self._storage)
        start, length = _header_place(self._storage)
        end = start + length + CRC_BYTES
        fields = Fields(without_crc(self._storage.read(0, end), "the header")[start:])
        self.header = parse_body(fields)
        self._lengths = parse_index(fields, self.header)
        self._offsets = chunk_offsets(self.header, self._lengths, end)
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
        return without_crc(self._storage.read(start, end - start), self._chunk_name(chunk))

    def _chunk_name(self, chunk: int) -> str:
        of_tiles = self.header.tile_count * self.header.groups
        if chunk < of_tiles:
            return f"tile {chunk // self.header.groups}"
        return f"the {kind_name(self.header.file_kinds[chunk - of_tiles])} metadata"


def _check_version(storage: Storage) -> None:
    magic = storage.read(0, min(len(MAGIC), storage.size))
    if not magic:
        raise FormatError("the file is empty")
    if magic == MAGIC_BEFORE_RELEASE:
        raise FormatError("made before the first release of dmecodec; encode the original again")
    if not MAGIC.startswith(magic):
        raise FormatError("not a .dmen file")
    version = storage.read(len(MAGIC), 1)[0]
    if version > VERSION:
        raise FormatError(
            f"made by a newer dmecodec (format version {version}, this one reads up to {VERSION}); please upgrade"
        )
    if version < 1:
        raise FormatError(f"no such format version: {version}")


def _header_place(storage: Storage) -> tuple[int, int]:
    """Offset and length of the header's body, before any checksum is compared."""
    start = len(MAGIC) + 1
    encoded = b""
    while not encoded or (encoded[-1] & 0x80 and len(encoded) < 5):
        encoded += storage.read(start + len(encoded), 1)
    return start + len(encoded), Fields(encoded).varint("length of the header", MAX_HEADER_LENGTH)


def _check_size(expected: int, actual: int) -> None:
    if actual < expected:
        raise FormatError(f"the file is truncated: it has {actual} of {expected} bytes")
    if actual > expected:
        raise FormatError(f"{actual - expected} bytes follow the end of the image at {expected}")
