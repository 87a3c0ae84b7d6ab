"""Putting a whole file together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from ..errors import FormatError
from .checksum import with_crc
from .fields import varint
from .header import Header
from .index import header_fields
from .kinds import Kind, kind_name
from .limits import MAGIC, MAX_HEADER_LENGTH, MODEL_BYTES, VERSION


def write(header: Header, tiles: Sequence[Mapping[int, bytes]], metadata: Mapping[int, bytes]) -> bytes:
    """Put a whole file together.

    Args:
        header: Names every kind of stream in `tiles` and `metadata`.
        tiles: For each tile (row-major), for each band group: its stream of every tile kind.
        metadata: The stream of every file-scoped kind.

    Returns:
        The file's bytes.

    Raises:
        ValueError: The streams are not those that the header names, or the header is one of an older version.
        FormatError: The index would be too large.
    """
    if len(tiles) != header.tile_count * header.groups:
        raise ValueError(f"{len(tiles)} tiles given, {header.tile_count * header.groups} expected")
    if {Kind.BOUND, Kind.FILTER} & set(header.kinds) or len(header.model) != MODEL_BYTES:
        raise ValueError("streams of kind BOUND or FILTER or a short id, as only older versions have")
    chunks = [_ordered(streams, header.tile_kinds) for streams in tiles]
    chunks += [(stream,) for stream in _ordered(metadata, header.file_kinds)]

    body = header_fields(header) + b"".join(varint(len(stream)) for chunk in chunks for stream in chunk)
    if len(body) > MAX_HEADER_LENGTH:
        raise FormatError(f"a header of {len(body)} bytes is too long; larger tiles are needed")
    alone = len(chunks) == 1
    parts = [(MAGIC, bytes([VERSION]), varint(2 * len(body) + alone), body), *chunks]
    if alone:  # one checksum for all
        parts = [tuple(chain.from_iterable(parts))]
    return b"".join(chain.from_iterable(map(with_crc, parts)))


def _ordered(streams: Mapping[int, bytes], kinds: tuple[int, ...]) -> tuple[bytes, ...]:
    """The streams in order of kind; exactly those of `kinds`."""
    if set(streams) != set(kinds):
        raise ValueError(f"streams {_names(streams)} given, {_names(kinds)} expected")
    return tuple(streams[kind] for kind in kinds)


def _names(kinds: Iterable[int]) -> str:
    return ", ".join(kind_name(kind) for kind in sorted(kinds)) or "none"
