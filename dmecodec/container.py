"""The `.dmen` container: a header with an index of every stream, then chunks with checksums.

`docs/format.md` is the normative description; this module follows it field by field. It knows
nothing of images or networks and imports the standard library alone, so that looking at a file
costs nothing. Everything that can be wrong with a file raises :class:`FormatError`.
"""

from __future__ import annotations

import os
import threading
import zlib
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import BinaryIO

from .errors import FormatError

MAGIC = b"\x89DME"
VERSION = 1
MODES = ("L", "LA", "RGB", "RGBA")

MODEL_BYTES = 8
MAX_SIDE = 2**24 - 1
MAX_PIXELS = 2**36
MAX_QUALITY = 7 * 32
TILE_UNIT = 64
MAX_TILE = 64 * TILE_UNIT
MAX_TILES = 2**20
MAX_HEADER_LENGTH = 2**26
MAX_STREAM_LENGTH = 2**40
MAX_INTEGER = 2**32 - 1

CRC_BYTES = 4
ANCILLARY = 0x80
FILE_SCOPED = 0x40


class Kind(IntEnum):
    """The kinds of stream that version 1 defines; the two top bits say how to treat a kind."""

    Z = 0x01
    Y = 0x02
    ALPHA = 0x03
    ICC = 0xC1
    EXIF = 0xC2
    XMP = 0xC3


KNOWN_KINDS = frozenset(int(kind) for kind in Kind)


def is_ancillary(kind: int) -> bool:
    """Whether a reader that does not know this kind may skip it."""
    return bool(kind & ANCILLARY)


def is_file_scoped(kind: int) -> bool:
    """Whether the file has one stream of this kind, rather than one per tile and band group."""
    return bool(kind & FILE_SCOPED)


def kind_name(kind: int) -> str:
    """Name of a kind for messages: `Y`, or `0x7f` for one that version 1 does not define."""
    return Kind(kind).name if kind in KNOWN_KINDS else f"0x{kind:02x}"


@dataclass(frozen=True)
class Header:
    """What the header of a file says, without the index. A Header that exists is a valid one.

    Attributes:
        model: First 8 bytes of the SHA-256 of the frozen model file.
        width: Image width in pixels.
        height: Image height in pixels.
        mode: One of `MODES`.
        quality: In steps of 1/32, 0 to 224.
        tile: Side of a tile in pixels, a multiple of 64.
        groups: Band groups that the network codes one by one; 1 for every mode of version 1.
        kinds: Kind byte of every stream that the file has, ascending.

    Raises:
        FormatError: A field is outside its limits, or the kinds do not fit version 1.
    """

    model: bytes
    width: int
    height: int
    mode: str
    quality: int
    tile: int
    groups: int = 1
    kinds: tuple[int, ...] = (Kind.Z, Kind.Y)

    def __post_init__(self) -> None:
        _check_geometry(self)
        _check_coding(self)
        _check_kinds(self)

    @property
    def tile_columns(self) -> int:
        """Tiles from left to right; the last one may be narrower than `tile`."""
        return -(-self.width // self.tile)

    @property
    def tile_rows(self) -> int:
        """Tiles from top to bottom; the last one may be lower than `tile`."""
        return -(-self.height // self.tile)

    @property
    def tile_count(self) -> int:
        """Tiles in the image."""
        return self.tile_columns * self.tile_rows

    @property
    def tile_kinds(self) -> tuple[int, ...]:
        """Kinds with one stream per tile and band group, ascending."""
        return tuple(kind for kind in self.kinds if not is_file_scoped(kind))

    @property
    def file_kinds(self) -> tuple[int, ...]:
        """Kinds with one stream in the file, ascending."""
        return tuple(kind for kind in self.kinds if is_file_scoped(kind))

    def tile_box(self, index: int) -> tuple[int, int, int, int]:
        """Column, row, width and height in pixels of tile `index`, clipped to the image."""
        tile_row, tile_column = divmod(index, self.tile_columns)
        col, row = tile_column * self.tile, tile_row * self.tile
        return col, row, min(self.tile, self.width - col), min(self.tile, self.height - row)


def _check_geometry(header: Header) -> None:
    for name, side in (("width", header.width), ("height", header.height)):
        if not 1 <= side <= MAX_SIDE:
            raise FormatError(f"image {name} {side} is outside 1 to {MAX_SIDE}")
    size = f"{header.width} x {header.height}"
    if header.width * header.height > MAX_PIXELS:
        raise FormatError(f"an image of {size} has more than 2^36 pixels")
    if header.tile % TILE_UNIT or not TILE_UNIT <= header.tile <= MAX_TILE:
        raise FormatError(
            f"tile side {header.tile} is not a multiple of {TILE_UNIT} "
            f"between {TILE_UNIT} and {MAX_TILE}"
        )
    if header.tile_count > MAX_TILES:
        raise FormatError(
            f"{header.tile_count} tiles of {header.tile} pixels in an image of {size} are more "
            f"than {MAX_TILES}; larger tiles are needed"
        )


def _check_coding(header: Header) -> None:
    if len(header.model) != MODEL_BYTES:
        raise FormatError(f"the model's id has {len(header.model)} bytes instead of {MODEL_BYTES}")
    if header.mode not in MODES:
        raise FormatError(f"unknown image mode {header.mode!r}")
    if not 0 <= header.quality <= MAX_QUALITY:
        raise FormatError(f"quality {header.quality}/32 is outside 0 to 7")
    if header.groups != 1:
        raise FormatError(f"{header.groups} band groups; this version of dmecodec knows only 1")


def _check_kinds(header: Header) -> None:
    kinds = header.kinds
    if any(not 0 <= kind <= 255 for kind in kinds):
        raise FormatError("a kind of stream is not a byte")
    if any(after <= before for before, after in pairwise(kinds)):
        raise FormatError("the kinds of stream are not in ascending order")
    for kind in kinds:
        if kind not in KNOWN_KINDS and not is_ancillary(kind):
            raise FormatError(
                f"unknown critical kind of stream {kind_name(kind)}: "
                "the file needs a newer dmecodec; please upgrade"
            )
    needed = {Kind.Z, Kind.Y, Kind.ALPHA} if header.mode.endswith("A") else {Kind.Z, Kind.Y}
    for kind in sorted(needed - set(kinds)):
        raise FormatError(f"a file of mode {header.mode} must have a stream of kind {kind.name}")
    if Kind.ALPHA in kinds and Kind.ALPHA not in needed:
        raise FormatError(f"a file of mode {header.mode} cannot have a stream of kind ALPHA")


# Writing


def write(
    header: Header, tiles: Sequence[Mapping[int, bytes]], metadata: Mapping[int, bytes]
) -> bytes:
    """Put a whole file together.

    Args:
        header: Names every kind of stream in `tiles` and `metadata`.
        tiles: For each tile (row-major), for each band group: its stream of every tile kind.
        metadata: The stream of every file-scoped kind.

    Returns:
        The file's bytes.

    Raises:
        ValueError: The streams are not those that the header names.
        FormatError: The index would be too large.
    """
    if len(tiles) != header.tile_count * header.groups:
        raise ValueError(f"{len(tiles)} tiles given, {header.tile_count * header.groups} expected")
    chunks = [_ordered(streams, header.tile_kinds) for streams in tiles]
    chunks += [(stream,) for stream in _ordered(metadata, header.file_kinds)]

    body = _header_fields(header) + b"".join(
        _varint(len(stream)) for chunk in chunks for stream in chunk
    )
    if len(body) > MAX_HEADER_LENGTH:
        raise FormatError(f"a header of {len(body)} bytes is too long; larger tiles are needed")
    parts = [_with_crc([MAGIC, bytes([VERSION]), _varint(len(body)), body])]
    parts += [_with_crc(chunk) for chunk in chunks]
    return b"".join(parts)


def _ordered(streams: Mapping[int, bytes], kinds: tuple[int, ...]) -> tuple[bytes, ...]:
    """The streams in order of kind; exactly those of `kinds`."""
    if set(streams) != set(kinds):
        raise ValueError(f"streams {_names(streams)} given, {_names(kinds)} expected")
    return tuple(streams[kind] for kind in kinds)


def _names(kinds: Iterable[int]) -> str:
    return ", ".join(kind_name(kind) for kind in sorted(kinds)) or "none"


def _header_fields(header: Header) -> bytes:
    """The header's body up to the index."""
    return b"".join(
        (
            header.model,
            _varint(header.width),
            _varint(header.height),
            bytes([MODES.index(header.mode)]),
            _varint(header.groups),
            bytes([header.quality]),
            _varint(header.tile // TILE_UNIT),
            _varint(len(header.kinds)),
            bytes(header.kinds),
        )
    )


def _with_crc(parts: Collection[bytes]) -> bytes:
    """The parts joined, and their CRC-32 behind them."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((*parts, crc.to_bytes(CRC_BYTES, "little")))


def _varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, lowest first, the top bit set on all but the last."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# Reading


class Reader:
    """A file whose header is read and checked at once and whose chunks are read on demand.

    When this returns without an error, the header's checksum holds, every field is within its
    limits, and the data is exactly as long as the index says. A chunk's checksum is compared
    whenever the chunk is read. Every method may be called from several threads at a time.

    Args:
        source: The whole file as bytes, or a seekable binary file that stays open and that nobody
            else moves while this Reader is in use. Of a file, only what is asked for is read.

    Attributes:
        header: The header's fields.
        size: Length of the whole file in bytes.

    Raises:
        FormatError: Not a `.dmen` file, of a newer version, damaged or truncated.
    """

    header: Header
    size: int

    def __init__(self, source: bytes | bytearray | memoryview | BinaryIO) -> None:
        self._source = _source_of(source)
        self.size = self._source.size
        body, end_of_header = _read_header(self._source)
        fields = _Fields(body)
        self.header = _parse_header(fields)
        self._lengths = _parse_index(fields, self.header)
        self._offsets = _chunk_offsets(self.header, self._lengths, end_of_header)
        _check_size(self._offsets[-1], self.size)

    @property
    def metadata_kinds(self) -> tuple[int, ...]:
        """The file-scoped kinds of the file that version 1 defines, ascending."""
        return tuple(kind for kind in self.header.file_kinds if kind in KNOWN_KINDS)

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
            The tile's streams by kind, without ancillary kinds that version 1 does not define.

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
        """Read the file-scoped streams of the kinds that version 1 defines, by kind.

        Raises:
            FormatError: A chunk is damaged or cut short.
        """
        first = self.header.tile_count * self.header.groups
        return {
            kind: self._chunk(first + n)
            for n, kind in enumerate(self.header.file_kinds)
            if kind in KNOWN_KINDS
        }

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
        return _without_crc(data, self._chunk_name(chunk))

    def _chunk_name(self, chunk: int) -> str:
        of_tiles = self.header.tile_count * self.header.groups
        if chunk < of_tiles:
            return f"tile {chunk // self.header.groups}"
        return f"the {kind_name(self.header.file_kinds[chunk - of_tiles])} metadata"


def _read_header(source: _BytesSource | _FileSource) -> tuple[bytes, int]:
    """The header's body, its checksum compared, and the offset of the first chunk."""
    magic = source.read(0, min(len(MAGIC), source.size))
    if not magic:
        raise FormatError("the file is empty")
    if not MAGIC.startswith(magic):
        raise FormatError("not a .dmen file")
    version = source.read(len(MAGIC), 1)[0]
    if version > VERSION:
        raise FormatError(
            f"made by a newer dmecodec (format version {version}, this one reads {VERSION}); "
            "please upgrade"
        )
    if version < VERSION:
        raise FormatError(f"no such format version: {version}")
    start, length = _read_header_length(source)
    header = source.read(0, start + length + CRC_BYTES)
    return _without_crc(header, "the header")[start:], len(header)


def _read_header_length(source: _BytesSource | _FileSource) -> tuple[int, int]:
    """Offset and length of the header's body, from the one field that no checksum covers yet."""
    start = len(MAGIC) + 1
    encoded = b""
    while not encoded or (encoded[-1] & 0x80 and len(encoded) < 5):
        encoded += source.read(start + len(encoded), 1)
    length = _Fields(encoded).varint("length of the header", MAX_HEADER_LENGTH)
    return start + len(encoded), length


def _without_crc(data: bytes, name: str) -> bytes:
    """The data before its CRC-32, which must be right."""
    payload = data[:-CRC_BYTES]
    if zlib.crc32(payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise FormatError(f"the file is damaged: the checksum of {name} does not match")
    return payload


class _Fields:
    """The header's fields, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int, name: str) -> bytes:
        if count > self.left:
            raise FormatError(f"the header ends within the {name}")
        self._position += count
        return self._data[self._position - count : self._position]

    def byte(self, name: str) -> int:
        return self.take(1, name)[0]

    def varint(self, name: str, limit: int = MAX_INTEGER) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte(name)
            value |= (byte & 0x7F) << shift
            if value > limit:
                raise FormatError(f"the {name} is more than {limit}")
            if byte < 0x80:
                break
            shift += 7
            if 1 << shift > limit:
                raise FormatError(f"the {name} has too many bytes")
        if byte == 0 and shift:
            raise FormatError(f"the {name} is not in its shortest form")
        return value


def _parse_header(fields: _Fields) -> Header:
    """The header's fields up to the index; :class:`Header` checks their values."""
    model = fields.take(MODEL_BYTES, "model's id")
    width = fields.varint("width")
    height = fields.varint("height")
    mode = fields.byte("mode")
    if mode >= len(MODES):
        raise FormatError(f"unknown image mode {mode}")
    groups = fields.varint("number of band groups")
    quality = fields.byte("quality")
    tile = fields.varint("tile side") * TILE_UNIT
    kinds = fields.take(fields.varint("number of kinds"), "kinds of stream")
    return Header(model, width, height, MODES[mode], quality, tile, groups, tuple(kinds))


def _parse_index(fields: _Fields, header: Header) -> array[int]:
    """Length in bytes of every stream, in the order of the file."""
    chunks = header.tile_count * header.groups
    entries = chunks * len(header.tile_kinds) + len(header.file_kinds)
    if entries > fields.left:
        raise FormatError(
            f"the header has no room for the {entries} streams of an image of "
            f"{header.width} x {header.height}"
        )
    lengths = array("Q")
    for _ in range(entries):
        lengths.append(fields.varint("length of a stream", MAX_STREAM_LENGTH))
    if fields.left:
        raise FormatError(f"the header has {fields.left} bytes too many")
    return lengths


def _chunk_offsets(header: Header, lengths: array[int], start: int) -> array[int]:
    """Where every chunk starts, and at last where the file ends.

    The header's own limit keeps the sum below 2^64: each length of 2^40 takes 6 of 2^26 bytes.
    """
    kinds = len(header.tile_kinds)
    of_tiles = header.tile_count * header.groups * kinds
    offsets = array("Q", [start])
    for first in range(0, of_tiles, kinds):
        start += sum(lengths[first : first + kinds]) + CRC_BYTES
        offsets.append(start)
    for length in lengths[of_tiles:]:
        start += length + CRC_BYTES
        offsets.append(start)
    return offsets


def _check_size(expected: int, actual: int) -> None:
    if actual < expected:
        raise FormatError(f"the file is truncated: it has {actual} of {expected} bytes")
    if actual > expected:
        raise FormatError(f"{actual - expected} bytes follow the end of the image at {expected}")


# Where the bytes come from


class _BytesSource:
    """A file in memory."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data).cast("B")
        self.size = len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes."""
        _check_range(offset, count, self.size)
        return bytes(self._data[offset : offset + count])


class _FileSource:
    """A seekable binary file. A lock keeps seek and read together."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        try:
            self.size = file.seek(0, os.SEEK_END)
        except OSError as error:
            raise FormatError(f"the file cannot be read in parts: {error}") from error

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes, with no allocation before it is sure that they exist."""
        _check_range(offset, count, self.size)
        with self._lock:
            try:
                self._file.seek(offset)
                data = _read_exactly(self._file, count)
            except OSError as error:
                raise FormatError(f"the file cannot be read: {error}") from error
        # The file has shrunk since it was opened.
        _check_range(offset, count, offset + len(data))
        return data


def _source_of(source: bytes | bytearray | memoryview | BinaryIO) -> _BytesSource | _FileSource:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _BytesSource(source)
    return _FileSource(source)


def _check_range(offset: int, count: int, size: int) -> None:
    if offset + count > size:
        raise FormatError(
            f"the file is truncated: it has {size} bytes where at least {offset + count} are needed"
        )


def _read_exactly(file: BinaryIO, count: int) -> bytes:
    """Up to `count` bytes, fewer only at the end of the file: unbuffered files read in pieces."""
    data = file.read(count) or b""
    while 0 < len(data) < count:
        more = file.read(count - len(data))
        if not more:
            break
        data += more
    return data
