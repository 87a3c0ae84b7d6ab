"""The header's fields and index as bytes, and where the index puts every chunk."""

from __future__ import annotations

from array import array

from ..errors import FormatError
from .checksum import CRC_BYTES
from .fields import Fields, varint
from .header import Header
from .limits import MAX_STREAM_LENGTH, MODEL_BYTES, MODES, TILE_UNIT


def header_fields(header: Header) -> bytes:
    """The header's body up to the index."""
    return b"".join(
        (
            header.model,
            varint(header.width),
            varint(header.height),
            bytes([MODES.index(header.mode)]),
            varint(header.groups),
            bytes([header.quality]),
            varint(header.tile // TILE_UNIT),
            varint(len(header.kinds)),
            bytes(header.kinds),
        )
    )


def parse_header(fields: Fields) -> Header:
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


def parse_index(fields: Fields, header: Header) -> array[int]:
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


def chunk_offsets(header: Header, lengths: array[int], start: int) -> array[int]:
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
