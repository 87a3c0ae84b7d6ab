"""The header's fields and index as bytes, and where the index puts every chunk."""

from __future__ import annotations

from array import array

from ..errors import FormatError
from .checksum import CRC_BYTES
from .fields import Fields, varint
from .header import Header
from .kinds import Kind
from .limits import MAX_BOUND, MAX_STREAM_LENGTH, MODEL_BYTES, MODEL_BYTES_2, MODES, TILE_UNIT

_ALWAYS = (int(Kind.Z), int(Kind.Y))
"""Kinds that every file has, so that no file need say it."""


def header_fields(header: Header) -> bytes:
    """The header's body up to the index."""
    others = [kind for kind in header.kinds if kind not in _ALWAYS]
    return b"".join(
        (
            header.model,
            varint(header.width),
            varint(header.height),
            bytes([MODES.index(header.mode)]),
            varint(header.groups) if header.mode == "BANDS" else b"",
            bytes([header.quality]),
            varint(header.tile // TILE_UNIT),
            varint(len(others)),
            bytes(others),
            b"" if header.bound is None else varint(header.bound),
        )
    )


def parse_header(fields: Fields, version: int) -> Header:
    """The header's fields up to the index; :class:`Header` checks their values.

    Version 1 has groups in every mode, names Z and Y among the kinds, and has a stream for the bound; versions 2 and
    3 have a shorter id.
    """
    model = fields.take(MODEL_BYTES_2 if version in (2, 3) else MODEL_BYTES, "model's id")
    width = fields.varint("width")
    height = fields.varint("height")
    mode = fields.byte("mode")
    if mode >= len(MODES):
        raise FormatError(f"unknown image mode {mode}")
    has_groups = version == 1 or MODES[mode] == "BANDS"
    groups = fields.varint("number of band groups") if has_groups else 1
    quality = fields.byte("quality")
    tile = fields.varint("tile side") * TILE_UNIT
    kinds = tuple(fields.take(fields.varint("number of kinds"), "kinds of stream"))
    bound = None
    if version != 2 and Kind.FILTER in kinds:
        raise FormatError("a stream of kind FILTER, which only version 2 has")
    if version > 1:
        kinds = _ALWAYS + kinds
        if Kind.BOUND in kinds:
            raise FormatError("a stream of kind BOUND, which only version 1 has")
        if Kind.RESIDUAL in kinds:
            bound = fields.varint("bound on the error", MAX_BOUND)
    return Header(model, width, height, MODES[mode], quality, tile, groups, kinds, bound)


def parse_index(fields: Fields, header: Header) -> array[int]:
    """Length in bytes of every stream, in the order of the file."""
    chunks = header.tile_count * header.groups
    entries = chunks * len(header.tile_kinds) + len(header.file_kinds)
    if entries > fields.left:
        raise FormatError(
            f"the header has no room for the {entries} streams of an image of {header.width} x {header.height}"
        )
    lengths = array("Q")
    for _ in range(entries):
        lengths.append(fields.varint("length of a stream", MAX_STREAM_LENGTH))
    if fields.left:
        raise FormatError(f"the header has {fields.left} bytes too many")
    return lengths


def chunk_count(header: Header) -> int:
    """One for each tile and band group, one for each file-scoped kind."""
    return header.tile_count * header.groups + len(header.file_kinds)


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
