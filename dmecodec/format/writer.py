"""Putting a whole file together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from ..errors import FormatError
from .checksum import with_crc
from .fields import varint
from .header import Header
from .index import header_body
from .kinds import kind_name
from .limits import MAGIC, MAX_HEADER_LENGTH, VERSION


def write(header: Header, tiles: Sequence[Mapping[int, bytes]], metadata: Mapping[int, bytes]) -> bytes:
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

    body = header_body(header) + b"".join(varint(len(stream)) for chunk in chunks for stream in chunk)
    if len(body) > MAX_HEADER_LENGTH:
        raise FormatError(f"a header of {len(body)} bytes is too long; larger tiles are needed")
    parts = [(MAGIC, bytes([VERSION]), varint(len(body)), body), *chunks]
    return b"".join(chain.from_iterable(map(with_crc, parts)))


def _ordered(streams: Mapping[int, bytes], kinds: tuple[int, ...]) -> tuple[bytes, ...]:
    """The streams in order of kind; exactly those of `kinds`."""
    if set(streams) != set(kinds):
        raise ValueError(f"streams {_names(streams)} given, {_names(kinds)} expected")
    return tuple(streams[kind] for kind in kinds)


def _names(kinds: Iterable[int]) -> str:
    return ", ".join(kind_name(kind) for kind in sorted(kinds)) or "none"
