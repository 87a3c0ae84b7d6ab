"""What the bands of a file are: their depth, groups, scaling, nodata values, and alpha or a mask beside them.

The modes L, LA, RGB and RGBA say it by themselves; in a file of mode BANDS the stream of that kind
does. `docs/format.md` is the normative description. Standard library alone, as the container.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from ..errors import FormatError
from .fields import Fields, varint
from .header import Header
from .kinds import Kind
from .limits import MAX_GROUPS
from .values import ValueMap, parse_map

if TYPE_CHECKING:
    from .reader import Reader

MAX_BANDS = 64
GROUP = 3
"""Bands that the network codes at once."""
MAX_STREAM = 4096
"""Bytes of a BANDS stream: more than any that is valid."""
_HAS_NODATA = 0x01
"""Flag of a band: its nodata value follows."""
_HAS_VALUES = 0x02
"""Flag of a band: the map from its samples to values of another type follows. Others are kept for later versions."""
_NEWER = "the file needs a newer dmecodec; please upgrade"


class Alpha(IntEnum):
    """What the lossless plane beside the coded bands is, if there is one."""

    NONE = 0
    BAND = 1
    MASK = 2


@dataclass(frozen=True)
class Band:
    """One coded band.

    Attributes:
        nodata: the value that says "not measured", or None.
        low, high: the samples that the network's 0 and 1 stand for.
        values: what the samples stand for in a raster of another type, else None.
    """

    nodata: int | None = None
    low: int = 0
    high: int = 255
    values: ValueMap | None = None


@dataclass(frozen=True)
class Layout:
    """The bands of a file. A Layout that exists is a valid one.

    Attributes:
        depth: bits of a sample, 8 or 16.
        bands: the bands that the network codes, in the order of the image, alpha left out.
        groups: the bands of each group, one to three of them; every band is in one group.
        alpha: what the lossless plane is: an alpha band, a mask beside the bands, or not there.
        alpha_at: place of an alpha band among all bands of the image.

    Raises:
        FormatError: a value is outside its limits, or a band is in no group or in two.
    """

    depth: int
    bands: tuple[Band, ...]
    groups: tuple[tuple[int, ...], ...]
    alpha: Alpha = Alpha.NONE
    alpha_at: int = 0

    def __post_init__(self) -> None:
        if self.depth not in (8, 16):
            raise FormatError(f"samples of {self.depth} bits; 8 and 16 are known to this dmecodec")
        if not 1 <= len(self.bands) <= MAX_BANDS:
            raise FormatError(f"{len(self.bands)} bands; 1 to {MAX_BANDS} are known")
        if not 1 <= len(self.groups) <= MAX_GROUPS or not all(1 <= len(group) <= GROUP for group in self.groups):
            raise FormatError("a group has no bands or too many")
        if sorted(band for group in self.groups for band in group) != [*range(len(self.bands))]:
            raise FormatError("the groups do not hold every band once")
        if not 0 <= self.alpha_at <= len(self.bands):
            raise FormatError(f"alpha cannot be band {self.alpha_at} of {len(self.bands) + 1}")
        for band in self.bands:
            if not 0 <= band.low < band.high <= self.largest:
                raise FormatError(f"a scale from {band.low} to {band.high} is not possible")
            if (band.values and band.values.type) != self._values_type or (band.values and self.depth != 16):
                raise FormatError("the bands have values of different types")
            if band.nodata is not None and not 0 <= band.nodata <= self.largest:
                raise FormatError(f"no sample can have the nodata value {band.nodata}")

    @property
    def dtype(self) -> str:
        """The numpy type of a sample, by name."""
        return f"uint{self.depth}"

    @property
    def _values_type(self) -> str | None:
        values = self.bands[0].values
        return None if values is None else values.type

    @property
    def value_type(self) -> str:
        """The numpy type of the raster's own values, by name; that of a sample where it is the same."""
        return self._values_type or self.dtype

    @property
    def sample_words(self) -> str:
        """What samples are, for messages: "16 bits", or the type of the values."""
        return self._values_type or f"{self.depth} bits"

    @property
    def has_values(self) -> bool:
        """Whether samples stand for values of another type."""
        return self._values_type is not None

    @property
    def step_sizes(self) -> tuple[float, ...]:
        """What a step of each band's samples is worth in its own unit; none where samples are the values."""
        return tuple(band.values.scale for band in self.bands if band.values)

    @property
    def declared_nodata(self) -> tuple[float | int | None, ...]:
        """The nodata value that each band declares, in the raster's own type."""
        return tuple(band.values.nodata if band.values else band.nodata for band in self.bands)

    @property
    def largest(self) -> int:
        """The largest sample."""
        return 2**self.depth - 1

    @property
    def has_nodata(self) -> bool:
        """Whether any band has a nodata value, and so each group a MASK stream."""
        return any(band.nodata is not None for band in self.bands)

    @property
    def has_alpha(self) -> bool:
        """Whether there is a lossless plane beside the bands."""
        return self.alpha is not Alpha.NONE

    @property
    def planes(self) -> int:
        """Planes of a decoded image: all bands, and a mask behind them."""
        return len(self.bands) + self.has_alpha

    @property
    def image_bands(self) -> int:
        """Bands of the image, its alpha band among them, a mask beside them not."""
        return len(self.bands) + (self.alpha is Alpha.BAND)

    @property
    def alpha_plane(self) -> int:
        """Place of alpha or mask among the planes."""
        return self.alpha_at if self.alpha is Alpha.BAND else len(self.bands)

    @property
    def raw_bytes(self) -> int:
        """Bytes of a pixel without any compression."""
        bits = int("".join(filter(str.isdigit, self.value_type)))
        return self.image_bands * bits // 8

    def plane_of(self, band: int) -> int:
        """Place of a coded band among the planes."""
        return band + (self.has_alpha and band >= self.alpha_plane)

    @property
    def mode(self) -> str:
        """The header's mode: BANDS only where no other says it all."""
        for mode, plain in _PLAIN.items():
            if self == plain:
                return mode
        return "BANDS"

    @property
    def picture_mode(self) -> str | None:
        """L, LA, RGB or RGBA where an ordinary image can hold these bands, else None."""
        colours = {1: "L", 3: "RGB"}.get(len(self.bands))
        if self.depth != 8 or colours is None or self.alpha_plane != len(self.bands):
            return None
        return colours + ("A" if self.has_alpha else "")

    def with_scale(self, scales: list[tuple[int, int]]) -> Layout:
        """The same with another scaling of each band."""
        bands = (replace(band, low=low, high=high) for band, (low, high) in zip(self.bands, scales, strict=True))
        return replace(self, bands=tuple(bands))

    def to_bytes(self) -> bytes:
        """The BANDS stream."""
        parts = [bytes([self.depth]), varint(len(self.bands)), bytes([self.alpha])]
        if self.alpha is Alpha.BAND:
            parts.append(varint(self.alpha_at))
        parts += [bytes([len(group), *group]) for group in self.groups]
        for band in self.bands:
            parts.append(bytes([_HAS_NODATA * (band.nodata is not None) | _HAS_VALUES * (band.values is not None)]))
            if band.nodata is not None:
                parts.append(varint(band.nodata))
            if self.depth == 16:
                parts += [varint(band.low), varint(band.high)]
            if band.values is not None:
                parts.append(band.values.to_bytes())
        return b"".join(parts)


def grouped(count: int) -> tuple[tuple[int, ...], ...]:
    """Bands by threes in their own order, the last group with what is left."""
    return tuple(tuple(range(first, min(first + GROUP, count))) for first in range(0, count, GROUP))


def _plain(colours: int, alpha: bool) -> Layout:
    return Layout(
        8,
        (Band(),) * colours,
        grouped(colours),
        Alpha.BAND if alpha else Alpha.NONE,
        colours if alpha else 0,
    )


_PLAIN = {
    "L": _plain(1, False),
    "LA": _plain(1, True),
    "RGB": _plain(3, False),
    "RGBA": _plain(3, True),
}


def plain_layout(mode: str) -> Layout:
    """The layout that one of the modes L, LA, RGB and RGBA stands for."""
    return _PLAIN[mode]


def layout_of(reader: Reader) -> Layout:
    """The layout of an open file.

    Raises:
        FormatError: its BANDS stream is damaged, or does not fit the header.
    """
    header = reader.header
    if header.mode != "BANDS":
        return _PLAIN[header.mode]
    layout = parse_layout(reader.file_stream(Kind.BANDS), header.groups)
    _check_kinds(header, layout)
    return layout


def _check_kinds(header: Header, layout: Layout) -> None:
    for kind, wanted in ((Kind.ALPHA, layout.has_alpha), (Kind.MASK, layout.has_nodata)):
        if wanted != (kind in header.kinds):
            raise FormatError(f"the bands and the kinds of stream differ about {kind.name}")


def parse_layout(stream: bytes, groups: int) -> Layout:
    """The layout that a BANDS stream holds, in a file of so many groups.

    Raises:
        FormatError: it ends early, has bytes left, or a value is outside its limits.
    """
    if len(stream) > MAX_STREAM:
        raise FormatError(f"a BANDS stream of {len(stream)} bytes is too long")
    fields = Fields(stream, "BANDS stream")
    depth = fields.byte("depth")
    count = fields.varint("number of bands", MAX_BANDS)
    alpha = fields.byte("kind of alpha")
    if alpha > max(Alpha):
        raise FormatError(f"unknown kind of alpha {alpha}: {_NEWER}")
    alpha_at = fields.varint("place of alpha", MAX_BANDS) if alpha == Alpha.BAND else 0
    members = tuple(tuple(fields.take(fields.byte("group"), "group")) for _ in range(groups))
    bands = tuple(_parse_band(fields, depth) for _ in range(count))
    if fields.left:
        raise FormatError(f"the BANDS stream has {fields.left} bytes too many")
    return Layout(depth, bands, members, Alpha(alpha), alpha_at)


def _parse_band(fields: Fields, depth: int) -> Band:
    flags = fields.byte("flags of a band")
    if flags & ~(_HAS_NODATA | _HAS_VALUES):
        raise FormatError(f"unknown flags 0x{flags:02x} of a band: {_NEWER}")
    nodata = fields.varint("nodata value", 65535) if flags & _HAS_NODATA else None
    low, high = (fields.varint("scale", 65535), fields.varint("scale", 65535)) if depth == 16 else (0, 255)
    return Band(nodata, low, high, parse_map(fields) if flags & _HAS_VALUES else None)
