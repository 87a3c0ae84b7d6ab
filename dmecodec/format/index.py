"""The body of a header as bytes: its fields, its options, and the index that tells where every chunk is.

A field that most files do not need is an option: a tag, a length and a value. So a later writer can add one: a reader
that does not know its tag skips it, or refuses the file where the tag says that it must.
"""

from __future__ import annotations

from array import array

from ..errors import FormatError
from .checksum import CRC_BYTES
from .fields import Fields, varint
from .header import Header
from .kinds import Kind
from .limits import DEFAULT_TILE, MAX_BOUND, MAX_GROUPS, MAX_STREAM_LENGTH, MAX_TILE, MODEL_BYTES, MODES, TILE_UNIT

ALWAYS = (int(Kind.Z), int(Kind.Y))
"""Kinds that every file has, so that no file need say it."""
TILE, KINDS, GROUPS, BOUND = 0x01, 0x02, 0x03, 0x04
"""Tags of the options, in the order in which a file holds them."""
ANCILLARY_TAG = 0x80
"""The bit of a tag that lets a reader skip the option where it does not know it."""


def header_body(header: Header) -> bytes:
    """The header's body up to the index."""
    options = _options(header)
    return b"".join(
        (
            header.model,
            varint(header.width),
            varint(header.height),
            bytes([MODES.index(header.mode), header.quality]),
            varint(len(options)),
            *(bytes([tag]) + varint(len(value)) + value for tag, value in options.items()),
        )
    )


def _options(header: Header) -> dict[int, bytes]:
    """The options that a file needs, each left out where it says what goes without saying."""
    options = {}
    if header.tile != DEFAULT_TILE:
        options[TILE] = varint(header.tile // TILE_UNIT)
    if kinds := bytes(kind for kind in header.kinds if kind not in ALWAYS):
        options[KINDS] = kinds
    if header.groups != 1:
        options[GROUPS] = varint(header.groups)
    if header.bound is not None:
        options[BOUND] = varint(header.bound)
    return options


def parse_body(fields: Fields) -> Header:
    """The header's fields up to the index; :class:`Header` checks their values."""
    model = fields.take(MODEL_BYTES, "model's id")
    width = fields.varint("width")
    height = fields.varint("height")
    mode = fields.byte("mode")
    if mode >= len(MODES):
        raise FormatError(f"unknown image mode {mode}")
    quality = fields.byte("quality")
    options = _parse_options(fields)
    tile, bound = DEFAULT_TILE, None
    groups, kinds = 1, b""
    if TILE in options:
        tile = options[TILE].last_varint("tile side", MAX_TILE // TILE_UNIT) * TILE_UNIT
    if KINDS in options:
        kinds = options[KINDS].rest()
    if GROUPS in options:
        groups = options[GROUPS].last_varint("number of band groups", MAX_GROUPS)
    if BOUND in options:
        bound = options[BOUND].last_varint("bound on the error", MAX_BOUND)
    return Header(model, width, height, MODES[mode], quality, tile, groups, (*ALWAYS, *kinds), bound)


def _parse_options(fields: Fields) -> dict[int, Fields]:
    """The value of every option, by tag."""
    options: dict[int, Fields] = {}
    previous = -1
    for _ in range(fields.varint("number of options", 255)):
        tag = fields.byte("tag of an option")
        if tag <= previous:
            raise FormatError("the header's options are not in ascending order")
        if tag not in (TILE, KINDS, GROUPS, BOUND) and not tag & ANCILLARY_TAG:
            raise FormatError(f"unknown critical option 0x{tag:02x}: the file needs a newer dmecodec; please upgrade")
        value = fields.take(fields.varint("length of an option"), "value of an option")
        options[tag], previous = Fields(value, "option"), tag
    return options


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
