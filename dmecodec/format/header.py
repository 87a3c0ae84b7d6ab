"""What the header of a file says, and the checks that make it valid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..errors import FormatError
from .kinds import KNOWN_KINDS, Kind, is_ancillary, is_file_scoped, kind_name
from .limits import (
    MAX_BOUND,
    MAX_GROUPS,
    MAX_PIXELS,
    MAX_QUALITY,
    MAX_SIDE,
    MAX_TILE,
    MAX_TILES,
    MODEL_BYTES,
    MODES,
    TILE_UNIT,
)


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
        groups: Band groups that the network codes one by one; 1 for every mode but BANDS.
        kinds: Kind byte of every stream that the file has, ascending.
        bound: Levels that a decoded sample may be from the original, or None.

    Raises:
        FormatError: A field is outside its limits, or the kinds do not fit the format.
    """

    model: bytes
    width: int
    height: int
    mode: str
    quality: int
    tile: int
    groups: int = 1
    kinds: tuple[int, ...] = (Kind.Z, Kind.Y)
    bound: int | None = None

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

    @property
    def has_filters(self) -> bool:
        """Whether every Y stream ends with a restoration filter, or with word that there is none."""
        return Kind.RESIDUAL not in self.kinds

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
            f"tile side {header.tile} is not a multiple of {TILE_UNIT} between {TILE_UNIT} and {MAX_TILE}"
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
    most = MAX_GROUPS if header.mode == "BANDS" else 1
    if not 1 <= header.groups <= most:
        raise FormatError(f"{header.groups} band groups; mode {header.mode} has 1 to {most}")


_NEEDED = {"LA": (Kind.ALPHA,), "RGBA": (Kind.ALPHA,), "BANDS": (Kind.BANDS,)}
_BAND_KINDS = frozenset({Kind.ALPHA, Kind.MASK, Kind.BANDS})


def _check_kinds(header: Header) -> None:
    kinds = header.kinds
    if any(not 0 <= kind <= 255 for kind in kinds):
        raise FormatError("a kind of stream is not a byte")
    if any(after <= before for before, after in pairwise(kinds)):
        raise FormatError("the kinds of stream are not in ascending order")
    for kind in kinds:
        if kind not in KNOWN_KINDS and not is_ancillary(kind):
            raise FormatError(
                f"unknown critical kind of stream {kind_name(kind)}: the file needs a newer dmecodec; please upgrade"
            )
    needed = {Kind.Z, Kind.Y, *_NEEDED.get(header.mode, ())}
    for kind in sorted(needed - set(kinds)):
        raise FormatError(f"a file of mode {header.mode} must have a stream of kind {kind.name}")
    # In a file of mode BANDS, the stream of that kind says which of the others there are.
    for kind in () if header.mode == "BANDS" else sorted(_BAND_KINDS & set(kinds) - needed):
        raise FormatError(f"a file of mode {header.mode} cannot have a stream of kind {kind_name(kind)}")
    if (Kind.RESIDUAL in kinds) != (header.bound is not None):
        raise FormatError("RESIDUAL streams and a bound on the error come together or not at all")
    if header.bound is not None and not 0 <= header.bound <= MAX_BOUND:
        raise FormatError(f"a bound on the error of {header.bound} levels")
