"""The kinds of stream, and what a kind's two top bits say."""

from __future__ import annotations

from enum import IntEnum

ANCILLARY = 0x80
FILE_SCOPED = 0x40


class Kind(IntEnum):
    """The kinds of stream that are defined; the two top bits say how to treat a kind."""

    Z = 0x01
    Y = 0x02
    ALPHA = 0x03
    MASK = 0x04
    RESIDUAL = 0x05
    BANDS = 0x41
    ICC = 0xC1
    EXIF = 0xC2
    XMP = 0xC3
    GEO = 0xC4


KNOWN_KINDS = frozenset(int(kind) for kind in Kind)


def is_ancillary(kind: int) -> bool:
    """Whether a reader that does not know this kind may skip it."""
    return bool(kind & ANCILLARY)


def is_file_scoped(kind: int) -> bool:
    """Whether the file has one stream of this kind, rather than one per tile and band group."""
    return bool(kind & FILE_SCOPED)


def kind_name(kind: int) -> str:
    """Name of a kind for messages: `Y`, or `0x7f` for one that is not defined."""
    return Kind(kind).name if kind in KNOWN_KINDS else f"0x{kind:02x}"
